"""Floor 3: records, the image transform and batches (TensorFlow)."""
