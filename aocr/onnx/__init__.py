"""Floor 3: the network as an ONNX graph, written with numpy alone."""
