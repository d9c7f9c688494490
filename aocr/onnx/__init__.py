"""Floor 3: the network as an ONNX graph, written and looked into with numpy alone."""
