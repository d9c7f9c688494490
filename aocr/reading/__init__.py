"""Floor 4: read images with a model, and score it."""
