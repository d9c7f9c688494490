"""`aocr label`: shows images one at a time to be labelled, the least certain first."""
