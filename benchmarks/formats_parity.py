"""Compare what every export reads in a dataset with what the model reads.

    python benchmarks/formats_parity.py MODEL_DIR ANNOTATIONS [--data-base-dir DIR] [--max-images N] [--formats A,B]

Prints the model's word accuracy; then, for batches of 1 and 32, how many texts of each format equal the model's, and
the largest difference in confidence; then the same for the ONNX graph as `aocr predict` reads it, from the files and
without TensorFlow: greedily, with two alternatives, with a pattern (the symbols and lengths of the labels), and with a
weighted lexicon (every other label). Formats whose packages are missing are left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator

import numpy as np
from formats_speed import Read, export_readers
from machine import describe

from aocr.config import ReadConfig
from aocr.data.annotations import candidate_paths, parse_annotations
from aocr.data.images import image_to_bytes
from aocr.exchange.proof import Samples
from aocr.exchange.serving import graph_of
from aocr.reading.onnx import OnnxReader, open_export
from aocr.reading.originals import reading_like
from aocr.reading.predictor import Predictor, load_network
from aocr.text.charset import Charset


def examples(annotations: str, base: str | None, max_images: int | None) -> Iterator[tuple[str, str]]:
    """Yield the path and label of each image."""
    with open(annotations, "rb") as file:
        lines = list(parse_annotations(file.read(), annotations))[:max_images]
    for line in lines:
        path = next(path for path in candidate_paths(line.path, annotations, base) if os.path.exists(path))
        yield path, line.label or ""


def as_texts(ids: np.ndarray, charset: Charset) -> list[str]:
    """Convert symbols (B, T) to texts; encoded texts (B,) are only decoded."""
    texts = ids.tolist() if ids.ndim == 1 else Samples.texts(ids, charset.symbols)
    return [text.decode() for text in texts]


def compare(name: str, ours: list[tuple], theirs: list[tuple]) -> None:
    """Print how many texts are equal, and the largest difference in confidence.

    Args:
      name: title of the line.
      ours, theirs: for each image, the texts and the confidence.
    """
    equal = sum(a == b for (a, _), (b, _) in zip(ours, theirs, strict=True))
    off = max(abs(a - b) for (_, a), (_, b) in zip(ours, theirs, strict=True))
    print(f"{name}: {equal} of {len(ours)} equal, confidence differs by {off:.1e}", flush=True)
    different = [pair for pair in zip(ours, theirs, strict=True) if pair[0][0] != pair[1][0]]
    for (a, p), (b, q) in different[:5]:
        print(f"  {a!r} ({p:.4f}) instead of {b!r} ({q:.4f})", flush=True)


def formats(predictor: Predictor, readers: dict[str, Read], images: list[bytes]) -> None:
    """Compare every format on the same pixels."""
    for size in (1, 32):
        parts = [images[i : i + size] for i in range(0, len(images), size)]
        batches = [(part, *predictor.reader.transform(part)[:2]) for part in parts]
        results = {}
        for name, read in readers.items():
            rows = [read(*batch) for batch in batches]
            texts = [text for ids, _ in rows for text in as_texts(ids, predictor.config.charset)]
            results[name] = list(zip(texts, np.concatenate([sure for _, sure in rows]).tolist(), strict=True))
            if name != "Predictor":
                compare(f"batch {size}, {name}", results[name], results["Predictor"])


def without_tensorflow(predictor: Predictor, graph: str, paths: list[str], labels: list[str]) -> None:
    """Compare the ONNX graph as `aocr predict` reads it, for every search method."""
    lexicon = tuple(sorted(set(filter(None, labels)))[::2])
    searches = {
        "greedy": ReadConfig(),
        "two alternatives, beam 5": ReadConfig(beam=5, alternatives=2),
        "pattern": reading_like(labels, predictor.config),
        f"lexicon of {len(lexicon)} weighted 3, beam 4": ReadConfig(beam=4, lexicon=lexicon, lexicon_weight=3.0),
    }
    for name, read_config in searches.items():
        both = []
        theirs = predictor.reader if read_config == ReadConfig() else predictor.reader.with_config(read_config)
        for reader in (OnnxReader(open_export(graph), read_config), theirs):
            predictions = Predictor(reader, 32).predict(paths)
            both.append([((p.text, *(other.text for other in p.alternatives)), p.confidence) for p in predictions])
        compare(f"aocr predict without TensorFlow, {name}", *both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("annotations")
    parser.add_argument("--data-base-dir", metavar="DIR")
    parser.add_argument("--max-images", type=int, metavar="N")
    parser.add_argument("--formats", default="onnx,openvino,litert", metavar="A,B")
    args = parser.parse_args()
    print(describe())
    predictor = load_network(args.model_dir, batch_size=32)
    paths, labels = zip(*examples(args.annotations, args.data_base_dir, args.max_images), strict=True)
    texts = [prediction.text for prediction in predictor.predict(paths)]
    right = sum(text == label for text, label in zip(texts, labels, strict=True))
    summary = f"{right} of {len(paths)} right, {sum(map(bool, texts))} texts not empty, {len(set(texts))} different"
    print(f"{args.model_dir}, {predictor.source}: {summary}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        readers = export_readers(predictor, folder, args.formats.split(","))
        formats(predictor, readers, [image_to_bytes(path).data for path in paths])
        graph = os.path.join(folder, "graph.onnx")
        with open(graph, "wb") as file:
            file.write(graph_of(predictor))
        without_tensorflow(predictor, graph, list(paths), list(labels))
    print(describe())


if __name__ == "__main__":
    main()
