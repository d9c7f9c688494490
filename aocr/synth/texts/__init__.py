"""Sources of the texts to draw."""
