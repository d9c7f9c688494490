"""Words drawn to train on: `aocr synth`. numpy and Pillow only."""
