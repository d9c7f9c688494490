"""What to draw: sources of texts."""
