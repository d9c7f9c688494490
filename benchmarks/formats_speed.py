"""Measure the reading speed of a model in every format, of Tesseract and of RapidOCR, on the same images.

    python benchmarks/formats_speed.py MODEL_DIR IMAGE... [--rounds 3] [--threads 1] [--rapidocr PYTHON]

Prints images per CPU second and wall second in batches of 1, 8 and 32 (the fastest round), and the difference in
confidence from the network in TensorFlow; then CPU time and peak memory of `aocr predict` on one image in a fresh
process, with ONNX Runtime and with TensorFlow, and of importing TensorFlow. SavedModel and frozen graph, Tesseract
(Debian's tesseract-ocr, `--psm 8`, one process per image) and RapidOCR (recognition only, run by a Python that has it)
also decode the files; the others are given pixels. LiteRT reads one image at a time. Formats whose packages are missing
are left out.
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

threads_parser = argparse.ArgumentParser(add_help=False)
threads_parser.add_argument("--threads", type=int, default=1)
THREADS = threads_parser.parse_known_args()[0].threads
if len(os.sched_getaffinity(0)) < THREADS:
    sys.exit(f"--threads {THREADS}: this process may use {len(os.sched_getaffinity(0))} cores. See taskset.")
os.environ.update(TF_NUM_INTRAOP_THREADS=str(THREADS), TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS=str(THREADS))

from aocr import machine  # noqa: E402

machine.start_tensorflow()

from aocr.data.images import image_to_bytes  # noqa: E402
from aocr.errors import ExportError  # noqa: E402
from aocr.exchange.formats import FORMATS  # noqa: E402
from aocr.reading.predictor import Predictor, load_network  # noqa: E402
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
"""Takes encoded images, the network's images and widths; returns symbols (B, T) or texts (B,), and confidence (B,)."""


def onnx_reader(folder: str) -> Read:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as in aocr
    session = onnxruntime.InferenceSession(os.path.join(folder, "reader.onnx"), options)
    return lambda _, images, widths: session.run(["ids", "confidence"], {"images": images, "widths": widths})


def openvino_reader(folder: str) -> Read:
    import openvino

    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS}
    model = openvino.Core().compile_model(os.path.join(folder, "reader.xml"), "CPU", properties)

    def read(_, images, widths):
        outputs = model({"images": images, "widths": widths})
        return np.array(outputs["ids"]), np.array(outputs["confidence"])

    return read


def litert_reader(folder: str) -> Read:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(os.path.join(folder, "reader.tflite"), num_threads=THREADS).get_signature_runner()
    shape = run.get_input_details()["image"]["shape"]

    def read(_, images, widths):
        outputs = []
        for image, width in zip(images, widths, strict=True):
            padded = np.zeros(shape, np.float32)
            padded[0, :, : image.shape[1]] = image[:, : shape[2]]
            outputs.append(run(image=padded, width=np.array([width], np.int32)))
        return tuple(np.concatenate([output[name] for output in outputs]) for name in ("ids", "confidence"))

    return read


def saved_model_reader(folder: str) -> Read:
    import tensorflow as tf

    serve = tf.saved_model.load(folder).signatures["serving_default"]

    def read(encoded, *_):
        outputs = serve(input=tf.constant(encoded))
        return outputs["output"].numpy(), outputs["probability"].numpy()

    return read


def frozen_graph_reader(folder: str) -> Read:
    import tensorflow as tf

    with open(os.path.join(folder, "frozen_graph.pb"), "rb") as file:
        graph = tf.compat.v1.GraphDef.FromString(file.read())
    imported = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph, name=""), [])
    run = imported.prune("input_image_as_bytes:0", ("prediction:0", "probability:0"))

    def read(encoded, *_):
        outputs = [run(tf.constant(image)) for image in encoded]
        return tuple(np.array([output[i].numpy() for output in outputs]) for i in (0, 1))

    return read


def network_reader(reader: Reader) -> Read:
    """Read with the network in TensorFlow."""

    def read(_, images, widths):
        reading = reader.read(images, widths)
        return reading.ids, reading.confidence

    return read


READERS = {
    "savedmodel": saved_model_reader,
    "frozengraph": frozen_graph_reader,
    "onnx": onnx_reader,
    "openvino": openvino_reader,
    "litert": litert_reader,
}


def export_readers(predictor: Predictor, folder: str, kinds: Collection[str] = tuple(READERS)) -> dict[str, Read]:
    """Return functions that read a batch, by name: the network's, then those of its exports in these formats."""
    readers: dict[str, Read] = {"Predictor": network_reader(predictor.reader)}
    for kind, make_reader in READERS.items():
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
            readers[kind] = make_reader(target)
    return readers


def speeds(predictor: Predictor, readers: dict[str, Read], images: list[bytes], rounds: int) -> None:
    """Print the images per second of each reader."""
    for size in (1, 8, 32):
        parts = [images[i : i + size] for i in range(0, len(images), size)]
        batches = [(part, *predictor.reader.transform(part)[:2]) for part in parts]
        best = {name: [float("inf")] * 2 for name in readers}
        confidence = {}
        for name, read in readers.items():  # warm up
            confidence[name] = np.concatenate([read(*batch)[1] for batch in batches])
        for _ in range(rounds):
            for name, read in readers.items():
                cpu, wall = time.process_time(), time.perf_counter()
                for batch in batches:
                    read(*batch)
                spent = time.process_time() - cpu, time.perf_counter() - wall
                best[name] = [min(pair) for pair in zip(best[name], spent, strict=True)]
        for name, spent in best.items():
            difference = np.abs(confidence[name] - confidence["Predictor"]).max()
            print_rate(f"batch {size}, {name}", len(images), *spent, f"; confidence differs by {difference:.1e}")


def print_rate(name: str, count: int, cpu: float, wall: float, note: str = "") -> None:
    print(f"{name}: {count / cpu:.1f} per CPU second, {count / wall:.1f} per wall second{note}", flush=True)


def other_programs(paths: list[str], rapidocr: str | None) -> None:
    """Print the images per second of Tesseract and RapidOCR."""
    if shutil.which("tesseract"):
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        for path in paths:
            command = ["tesseract", path, "-", "--psm", "8"]
            subprocess.run(command, capture_output=True, env={**os.environ, "OMP_THREAD_LIMIT": str(THREADS)})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print_rate("Tesseract", len(paths), cpu, time.perf_counter() - wall)
    if rapidocr:
        command = [rapidocr, "-c", RAPIDOCR, str(THREADS), *paths]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print_rate("RapidOCR", len(paths), *json.loads(done.stdout.splitlines()[-1]))


def cold_start(name: str, *command: str, rounds: int) -> None:
    """Print CPU time, wall time and peak memory of a fresh process."""
    measured = []
    for _ in range(rounds):
        code = (
            "import resource, subprocess, sys, time\nstart = time.perf_counter()\n"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
            "use = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "print(use.ru_utime + use.ru_stime, time.perf_counter() - start, use.ru_maxrss / 1024)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            capture_output=True, text=True, check=True, env=environment(),
        )  # fmt: skip
        measured.append([float(value) for value in done.stdout.split()])
    cpu, wall, memory = np.min(measured, axis=0)
    print(f"cold, {name}: {cpu:.2f} CPU s, {wall:.2f} s, {memory:.0f} MiB", flush=True)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form, parents=[threads_parser])
    parser.add_argument("model_dir")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rapidocr", metavar="PYTHON")
    args = parser.parse_args()
    print(f"{describe()}; {THREADS} threads")
    predictor = load_network(args.model_dir)
    images = [image_to_bytes(path).data for path in args.images]
    with tempfile.TemporaryDirectory() as folder:
        speeds(predictor, export_readers(predictor, folder), images, args.rounds)
        other_programs(args.images, args.rapidocr)
        predict = [sys.executable, "-m", "aocr", "predict", args.images[0], "--model-dir", args.model_dir]
        cold_start("import tensorflow", sys.executable, "-c", "import tensorflow", rounds=args.rounds)
        cold_start("predict", *predict, rounds=args.rounds)
        cold_start("predict, TensorFlow", *predict, "--precision", "auto", rounds=args.rounds)
    print(describe())


if __name__ == "__main__":
    main()
