"""The data path alone: images a second that it could feed, and how much of the batches is padding.

    python benchmarks/input_speed.py ANNOTATIONS [--data-base-dir DIR] [--seconds 20]

Builds records from an annotation file and runs the pipeline of `aocr train` over them as a training would, with
augmentation and without, once the first epoch has filled the cache; and once more for a set too large to cache.
"""

from __future__ import annotations

import argparse
import time

from machine import describe


def rate(paths, config, plan, summary, strength: float, seconds: float) -> tuple[float, float]:
    """Images a second after the first epoch, and the share of padding in the pixels."""
    from aocr.data.pipeline import Batches

    batches = Batches(paths, config, plan, summary, drop_unknown=True)
    images = valid = pixels = 0
    since = None
    for epoch, _, batch in batches.training_batches(0, 0, 0, strength):
        if since is None and int(epoch) > 0:
            since = time.perf_counter()
        if since is not None:
            images += batch.images.shape[0]
            valid += int(batch.widths.numpy().sum())
            pixels += batch.images.shape[0] * batch.images.shape[2]
            if time.perf_counter() - since > seconds:
                return images / (time.perf_counter() - since), 1 - valid / pixels
    raise AssertionError("the data ended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations")
    parser.add_argument("--data-base-dir")
    parser.add_argument("--batch-size", type=int, default=65)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    from aocr.data import pipeline
    from aocr.data.automatic import network_widths
    from aocr.data.batching import plan_batches
    from aocr.data.datasets import open_dataset
    from aocr.training.prepare import TrainRequest, new_config

    print(describe())
    print("| images | augmentation | images/s | padding |\n|---|---|---|---|")
    with open_dataset([options.annotations], options.data_base_dir) as data:
        config = new_config(TrainRequest(datasets=[options.annotations]), [data])
        widths = network_widths(data.summary.sizes, config)
        plan = plan_batches(widths, options.batch_size, config)
        for cached in (True, False):
            pipeline.CACHE_BYTES = 2**40 if cached else 0
            for strength in (1.0, 0.0):
                speed, padding = rate(data.paths, config, plan, data.summary, strength, options.seconds)
                kept = "decoded once, in memory" if cached else "decoded each time"
                print(f"| {kept} | {'on' if strength else 'off'} | {speed:.0f} | {padding:.1%} |", flush=True)


if __name__ == "__main__":
    main()
