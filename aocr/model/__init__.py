"""The network in pure Keras 3: tensors and ids, no paths or files."""
