"""`aocr synth`: drawing images of words to train on, with numpy and Pillow only."""
