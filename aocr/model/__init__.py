"""Floor 3: the network, pure Keras 3. It sees ids and tensors, never paths or files."""
