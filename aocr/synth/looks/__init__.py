"""Appearance: colours, surfaces, and steps that imitate lettering and cameras."""
