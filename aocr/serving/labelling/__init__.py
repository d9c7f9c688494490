"""`aocr label`: shows images for labelling one at a time, the least certain first."""
