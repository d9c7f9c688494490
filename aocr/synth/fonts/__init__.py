"""Fonts: finding them, what each really draws, and choosing one for a text."""
