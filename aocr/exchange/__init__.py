"""Floor 4: `aocr export` and `aocr import`."""
