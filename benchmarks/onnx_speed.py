"""Reading speed of TensorFlow's Predictor, its frozen graph and ONNX Runtime, on the same images in turn.

    python benchmarks/onnx_speed.py MODEL_DIR IMAGE... [--rounds 3]

One thread each. Prints images a CPU second and a wall second at batches of 1, 8 and 32 without the decoding of files
(the least time of the rounds), how many texts are equal, the processor time and peak memory of `aocr predict` on one
image in a fresh process by each way, and beside them those of `python -c "import tensorflow"`. Needs aocr[onnx].
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from machine import describe, environment

os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")

from aocr import machine

machine.start_tensorflow()

from aocr.data.images import image_to_bytes  # noqa: E402
from aocr.exchange.formats import onnx as form  # noqa: E402
from aocr.reading.frozen import FrozenReader, frozen_graph  # noqa: E402
from aocr.reading.onnx import open_graph  # noqa: E402
from aocr.reading.predictor import load  # noqa: E402


def speeds(readers: dict, images: list[bytes], rounds: int) -> None:
    """Images a second of each reader."""
    for size in (1, 8, 32):
        batches = [readers["Predictor"].transform(images[i : i + size])[:2] for i in range(0, len(images), size)]
        best = {name: [float("inf")] * 2 for name in readers}
        texts = {name: [r.read(*batch).confidence for batch in batches] for name, r in readers.items()}  # warm
        for _ in range(rounds):
            for name, reader in readers.items():
                cpu, wall = time.process_time(), time.perf_counter()
                for batch in batches:
                    reader.read(*batch)
                spent = time.process_time() - cpu, time.perf_counter() - wall
                best[name] = [min(pair) for pair in zip(best[name], spent, strict=True)]
        for name, (cpu, wall) in best.items():
            off = max(np.abs(a - b).max() for a, b in zip(texts[name], texts["Predictor"], strict=True))
            rates = f"{len(images) / cpu:.0f} a CPU second, {len(images) / wall:.0f} a wall second"
            print(f"batch {size}, {name}: {rates}; confidence differs by {off:.1e}", flush=True)


def cold(name: str, *command: str, rounds: int, env: dict | None = None) -> None:
    """Processor time, wall time and peak memory of a fresh process."""
    found = []
    for _ in range(rounds):
        code = (
            "import resource, subprocess, sys, time\nstart = time.perf_counter()\n"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
            "use = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "print(use.ru_utime + use.ru_stime, time.perf_counter() - start, use.ru_maxrss / 1024)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            capture_output=True, text=True, check=True, env=environment(**(env or {})),
        )  # fmt: skip
        found.append([float(value) for value in done.stdout.split()])
    cpu, wall, memory = np.min(found, axis=0)
    print(f"cold, {name}: {cpu:.2f} s of the processor, {wall:.2f} s, {memory:.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model_dir")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(describe(), f"load {os.getloadavg()[0]:.1f}")
    predictor = load(args.model_dir)
    images = [image_to_bytes(path).data for path in args.images]
    with tempfile.TemporaryDirectory() as folder:
        form.write(predictor, folder)
        graph = os.path.join(folder, form.MAIN_FILE)
        print(f"{os.path.getsize(graph):,} bytes of graph")
        readers = {
            "Predictor": predictor.reader,
            "frozen graph": FrozenReader(predictor.config, frozen_graph(predictor.reader)),
            "ONNX Runtime": open_graph(graph),
        }
        speeds(readers, images, args.rounds)
        predict = [sys.executable, "-m", "aocr", "predict", args.images[0], "--model-dir"]
        kept = {"XDG_CACHE_HOME": folder}
        cold("import tensorflow", sys.executable, "-c", "import tensorflow", rounds=args.rounds)
        cold("predict, network", *predict, args.model_dir, rounds=1, env={"AOCR_CACHE": "off"})
        cold("predict, frozen graph's first time", *predict, args.model_dir, rounds=1, env=kept)
        cold("predict, frozen graph", *predict, args.model_dir, rounds=args.rounds, env=kept)
        cold("predict, ONNX", *predict, graph, rounds=args.rounds)
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
