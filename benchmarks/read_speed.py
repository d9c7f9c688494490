"""Reading speed: one image at a time, and in batches, by the predictor and by both kinds of export.

    python benchmarks/read_speed.py ANNOTATIONS --model-dir MODEL [--data-base-dir DIR] [--batch 64] [--images 400]

The images of the list are read from memory, encoded. Latency is of single images (median and 99th percentile),
throughput of batches, all after warming up.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import describe


def readers(model_dir: str, batch: int, folder: Path) -> dict[str, Callable[[list[bytes]], object]]:
    """By name: functions that read a list of encoded images at once."""
    import tensorflow as tf

    import aocr
    from aocr import machine
    from aocr.exchange.export import export

    predictor = aocr.load(model_dir, batch_size=batch)
    found: dict[str, Callable] = {
        f"Predictor, {name}": aocr.load(model_dir, precision=name, batch_size=batch).predict
        for name in dict.fromkeys((machine.choose_precision("auto")[0], "float32"))
    }
    saved = export(predictor, str(folder / "saved"), "savedmodel")
    loaded = tf.saved_model.load(saved).signatures["serving_default"]
    found["SavedModel"] = lambda images: loaded(input=tf.constant(images))["output"].numpy()
    frozen = export(predictor, str(folder / "frozen"), "frozengraph")
    graph = tf.compat.v1.GraphDef.FromString(Path(frozen).read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph, name=""), [])
    one = wrapped.prune("input_image_as_bytes:0", ("prediction:0", "probability:0"))
    found["frozen graph"] = lambda images: one(tf.constant(images))[0].numpy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations")
    parser.add_argument("--model-dir", required=True)
    parser.add_argument("--data-base-dir")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=400)
    options = parser.parse_args()
    import tensorflow as tf

    from aocr.data.datasets import open_dataset

    print(describe())
    with open_dataset([options.annotations], options.data_base_dir) as data:
        records = tf.data.TFRecordDataset(data.paths).take(options.images)
        examples = [tf.train.Example.FromString(record.numpy()) for record in records]
    images = [example.features.feature["image"].bytes_list.value[0] for example in examples]
    print("| | one image, median ms | 99th percentile | batches, images/s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, read in readers(options.model_dir, options.batch, Path(folder)).items():
            groups = [images[i : i + options.batch] for i in range(0, len(images), options.batch)]
            for group in (images[:1], *groups):
                read(group)
            single = []
            for image in images:
                before = time.perf_counter()
                read([image])
                single.append((time.perf_counter() - before) * 1e3)
            before = time.perf_counter()
            for group in groups:
                read(group)
            speed = len(images) / (time.perf_counter() - before)
            late = sorted(single)[int(len(single) * 0.99)]
            print(f"| {name} | {statistics.median(single):.1f} | {late:.1f} | {speed:.0f} |", flush=True)


if __name__ == "__main__":
    main()
