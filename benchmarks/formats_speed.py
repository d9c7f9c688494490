"""Reading speed of every way to read a model, of Tesseract and of RapidOCR, on the same images in turn.

    python benchmarks/formats_speed.py MODEL_DIR IMAGE... [--rounds 3] [--threads 1] [--rapidocr PYTHON]

With two threads, free two cores first: `taskset -c 0,1 python benchmarks/formats_speed.py ... --threads 2`.
Prints images a CPU second and a wall second at batches of 1, 8 and 32 (the least time of the rounds), and how far the
confidence is from the Predictor's; then processor time and peak memory of `aocr predict` on one image in a fresh
process, and of importing TensorFlow. The SavedModel, Tesseract (Debian's tesseract-ocr, `--psm 8`, a process an image)
and RapidOCR (recognition only, run by a Python that has it) decode the files too; the others are given pixels. LiteRT
reads one at a time. Formats whose packages are missing are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection

import numpy as np
from machine import describe, environment

before = argparse.ArgumentParser(add_help=False)
before.add_argument("--threads", type=int, default=1)
THREADS = before.parse_known_args()[0].threads
if len(os.sched_getaffinity(0)) < THREADS:
    sys.exit(f"--threads {THREADS}: this process may use {len(os.sched_getaffinity(0))} cores. See taskset.")
os.environ.update(TF_NUM_INTRAOP_THREADS=str(THREADS), TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS=str(THREADS))

from aocr import machine  # noqa: E402

machine.start_tensorflow()

from aocr.data.images import image_to_bytes  # noqa: E402
from aocr.errors import ExportError  # noqa: E402
from aocr.exchange.formats import FORMATS  # noqa: E402
from aocr.reading.frozen import FrozenReader, frozen_graph  # noqa: E402
from aocr.reading.predictor import Predictor, load  # noqa: E402
from aocr.reading.reader import Reader  # noqa: E402

RAPIDOCR = """
import sys, time, json
from rapidocr import RapidOCR
engine = RapidOCR(params={"EngineConfig.onnxruntime.intra_op_num_threads": int(sys.argv[1])})
read = lambda path: engine(path, use_det=False, use_cls=False, use_rec=True)
read(sys.argv[2])
cpu, wall = time.process_time(), time.perf_counter()
for path in sys.argv[2:]:
    read(path)
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""

Read = Callable[[list[bytes], np.ndarray, np.ndarray], tuple]
"""Encoded images, the network's images and widths -> symbols (B, T) or encoded texts (B,), and confidence (B,)."""


def onnx_way(folder: str) -> Read:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as aocr reads with it
    session = onnxruntime.InferenceSession(os.path.join(folder, "reader.onnx"), options)
    return lambda _, images, widths: session.run(["ids", "confidence"], {"images": images, "widths": widths})


def openvino_way(folder: str) -> Read:
    import openvino

    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS}
    model = openvino.Core().compile_model(os.path.join(folder, "reader.xml"), "CPU", how)

    def read(_, images, widths):
        found = model({"images": images, "widths": widths})
        return np.array(found["ids"]), np.array(found["confidence"])

    return read


def litert_way(folder: str) -> Read:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(os.path.join(folder, "reader.tflite"), num_threads=THREADS).get_signature_runner()
    shape = run.get_input_details()["image"]["shape"]

    def read(_, images, widths):
        found = []
        for image, width in zip(images, widths, strict=True):
            padded = np.zeros(shape, np.float32)
            padded[0, :, : image.shape[1]] = image[:, : shape[2]]
            found.append(run(image=padded, width=np.array([width], np.int32)))
        return tuple(np.concatenate([one[name] for one in found]) for name in ("ids", "confidence"))

    return read


def saved_way(folder: str) -> Read:
    import tensorflow as tf

    serve = tf.saved_model.load(folder).signatures["serving_default"]

    def read(encoded, *_):
        found = serve(input=tf.constant(encoded))
        return found["output"].numpy(), found["probability"].numpy()

    return read


def by_reader(reader: Reader) -> Read:
    """One of aocr's own readers."""

    def read(_, images, widths):
        found = reader.read(images, widths)
        return found.ids, found.confidence

    return read


WAYS = {"savedmodel": saved_way, "onnx": onnx_way, "openvino": openvino_way, "litert": litert_way}


def ways(predictor: Predictor, folder: str, kinds: Collection[str] = tuple(WAYS)) -> dict[str, Read]:
    """By name: functions that read a batch, first the Predictor's, then those of exports of these kinds."""
    found: dict[str, Read] = {"Predictor": by_reader(predictor.reader)}
    for kind, way in WAYS.items():
        if kind in kinds and all(map(machine.has_package, FORMATS[kind].NEEDED)):
            target = os.path.join(folder, kind)
            os.makedirs(target)
            try:
                FORMATS[kind].write(predictor, target)
            except ExportError as error:
                print(f"{kind}: {error}", flush=True)
                continue
            size = sum(
                os.path.getsize(os.path.join(base, name)) for base, _, names in os.walk(target) for name in names
            )
            print(f"{kind}: {size:,} bytes", flush=True)
            found[kind] = way(target)
    return found


def speeds(predictor: Predictor, readers: dict[str, Read], images: list[bytes], rounds: int) -> None:
    """Images a second of each way."""
    for size in (1, 8, 32):
        parts = [images[i : i + size] for i in range(0, len(images), size)]
        batches = [(part, *predictor.reader.transform(part)[:2]) for part in parts]
        best = {name: [float("inf")] * 2 for name in readers}
        sure = {name: np.concatenate([read(*batch)[1] for batch in batches]) for name, read in readers.items()}  # warm
        for _ in range(rounds):
            for name, read in readers.items():
                cpu, wall = time.process_time(), time.perf_counter()
                for batch in batches:
                    read(*batch)
                spent = time.process_time() - cpu, time.perf_counter() - wall
                best[name] = [min(pair) for pair in zip(best[name], spent, strict=True)]
        for name, spent in best.items():
            off = np.abs(sure[name] - sure["Predictor"]).max()
            tell(f"batch {size}, {name}", len(images), *spent, f"; confidence differs by {off:.1e}")


def tell(name: str, count: int, cpu: float, wall: float, more: str = "") -> None:
    print(f"{name}: {count / cpu:.1f} a CPU second, {count / wall:.1f} a wall second{more}", flush=True)


def others(paths: list[str], rapidocr: str | None) -> None:
    """Tesseract and RapidOCR."""
    if shutil.which("tesseract"):
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        for path in paths:
            command = ["tesseract", path, "-", "--psm", "8"]
            subprocess.run(command, capture_output=True, env={**os.environ, "OMP_THREAD_LIMIT": str(THREADS)})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        tell("Tesseract", len(paths), cpu, time.perf_counter() - wall)
    if rapidocr:
        command = [rapidocr, "-c", RAPIDOCR, str(THREADS), *paths]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        tell("RapidOCR", len(paths), *json.loads(done.stdout.splitlines()[-1]))


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
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form, parents=[before])
    parser.add_argument("model_dir")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rapidocr", metavar="PYTHON")
    args = parser.parse_args()
    print(f"{describe()}; {THREADS} threads")
    predictor = load(args.model_dir)
    images = [image_to_bytes(path).data for path in args.images]
    with tempfile.TemporaryDirectory() as folder:
        readers = ways(predictor, folder)
        readers["frozen graph"] = by_reader(FrozenReader(predictor.config, frozen_graph(predictor.reader)))
        speeds(predictor, readers, images, args.rounds)
        others(args.images, args.rapidocr)
        predict = [sys.executable, "-m", "aocr", "predict", args.images[0], "--model-dir", args.model_dir]
        kept = {"XDG_CACHE_HOME": folder}
        cold("import tensorflow", sys.executable, "-c", "import tensorflow", rounds=args.rounds)
        cold("predict, the first time", *predict, rounds=1, env=kept)
        cold("predict", *predict, rounds=args.rounds, env=kept)
    print(describe())


if __name__ == "__main__":
    main()
