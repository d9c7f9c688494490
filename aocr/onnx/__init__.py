"""Floor 3: the network as an ONNX graph, built with numpy alone."""
