"""Floor 4: `aocr train`."""
