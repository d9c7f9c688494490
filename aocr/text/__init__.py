"""Floor 1: symbols, texts, and constraints on texts. No images, no tensors."""
