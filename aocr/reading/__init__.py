"""Floor 4: `aocr test` and `aocr predict`."""
