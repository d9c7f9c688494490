"""Floor 4: where data and model meet: training, reading, scoring, exporting."""
