"""Measure the training speed of the network alone, by architecture, precision, batch size and width.

    python benchmarks/train_speed.py [--archs default,classic] [--precisions float32,bfloat16] [--batches 65]
        [--widths 86] [--steps 30] [--rounds 3]

Runs the compiled step of `aocr train` on noise; prints the median of all steps of all rounds, without the first ones.
"""

from __future__ import annotations

import argparse
import statistics
import time

from machine import describe

LABEL = 5
SYMBOLS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def step_of(arch: str, precision: str, width: int):
    """Return the compiled training step of a new model."""
    from aocr import machine
    from aocr.config import ARCHS, ModelConfig, TrainConfig
    from aocr.folder.variables import weights_of
    from aocr.model.recognizer import build_recognizer
    from aocr.text.charset import Charset
    from aocr.training.cluster import connect
    from aocr.training.learner import Learner, WeightAverage
    from aocr.training.schedule import TrainState
    from aocr.training.step import TrainStep, make_optimizer

    machine.set_seed(0)
    config = ModelConfig(Charset(SYMBOLS), arch=arch, max_width=width, max_height=32, **ARCHS[arch].defaults)
    model = build_recognizer(config, machine.POLICIES[precision])
    settings = TrainConfig(precision=precision)
    learner = Learner(model, make_optimizer(settings, model), WeightAverage(weights_of(model)), TrainState())
    return TrainStep(learner, settings, connect())


def noise(arch: str, batch: int, width: int):
    """Return a batch of full-width images with labels of `LABEL` symbols, padded like a real batch."""
    import numpy as np
    import tensorflow as tf

    from aocr.data.batching import EDGE_STEP
    from aocr.data.pipeline import Batch
    from aocr.text.charset import EOS, GO, NUM_SPECIALS

    random = np.random.default_rng(0)
    padded = width if arch == "classic" else -(-width // EDGE_STEP) * EDGE_STEP
    images = tf.constant(random.normal(0, 0.5, (batch, 32, padded, 1)).astype(np.float32))
    ids = random.integers(NUM_SPECIALS, NUM_SPECIALS + len(SYMBOLS), (batch, LABEL)).astype(np.int32)
    tokens = np.concatenate([np.full((batch, 1), GO, np.int32), ids], 1)
    targets = np.concatenate([ids, np.full((batch, 1), EOS, np.int32)], 1)
    known = {
        "images": images,
        "widths": tf.fill((batch,), width),
        "tokens": tf.constant(tokens),
        "targets": tf.constant(targets),
        "weights": tf.ones((batch, LABEL + 1)),
    }
    return Batch(**{name: known.get(name) for name in Batch._fields})


def step_seconds(arch: str, precision: str, batch: int, width: int, steps: int) -> list[float]:
    """Return the seconds of each of `steps` steps after warming up."""
    step = step_of(arch, precision, width)
    data, seconds = noise(arch, batch, width), []
    for number in range(steps + 5):
        before = time.perf_counter()
        float(step(data, 1e-4, number))
        seconds.append(time.perf_counter() - before)
    return seconds[5:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", default="default,classic")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--batches", default="65")
    parser.add_argument("--widths", default="86")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    archs, precisions = options.archs.split(","), options.precisions.split(",")
    shapes = [(int(b), int(w)) for b in options.batches.split(",") for w in options.widths.split(",")]
    print(describe())
    print("| network | precision | batch | width | s per step | images/s |\n" + "|---" * 6 + "|")
    for arch in archs:
        for precision in precisions:
            for batch, width in shapes:
                seconds = []
                for _ in range(options.rounds):
                    seconds += step_seconds(arch, precision, batch, width, options.steps)
                middle = statistics.median(seconds)
                cells = (arch, precision, batch, width, f"{middle:.3f}", f"{batch / middle:.0f}")
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
