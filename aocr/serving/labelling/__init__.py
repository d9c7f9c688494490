"""`aocr label`: images shown one at a time to be labelled, the least sure first."""
