"""Floor 3: the model folder. The only place that knows the names of its files."""
