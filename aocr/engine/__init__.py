"""Floor 4: where data and model meet: training, reading, scoring, exporting."""

from aocr.engine import runtime  # first, before anything else imports TensorFlow  # noqa: F401
