"""Floor 4: export models, and import those of aocr 0.7.6."""
