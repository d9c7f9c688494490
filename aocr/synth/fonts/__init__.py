"""Fonts: where they are, which characters each really draws, and which one to take for a text."""
