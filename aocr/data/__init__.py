"""Floor 3: from annotation lines to batches."""
