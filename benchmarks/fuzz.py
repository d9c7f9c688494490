"""Damaged input in great numbers: records, annotation files, images, model folders, patterns.

    python benchmarks/fuzz.py [records annotations images models weights patterns] [--count 10000] [--seed 0]

Each kind runs in a child process. An `AocrError` is right, any other exception, a crash and a hang are not: each is
printed with its number, and `--only NUMBER` with one kind does it again. Patterns are compared with Python's `re` on
random texts, and the pixels that TensorFlow finds in an image with those that Pillow finds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

HANG = 60.0
"""Seconds after which one input counts as a hang."""


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few bytes set, taken out, put in, repeated or cut off."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, size = rng.randrange(len(found) + 1), rng.choice((1, 1, 2, 4, 8, 64))
        piece = rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size, bytes(found[at : at + size])))
        match rng.randrange(4):
            case 0:
                found[at : at + len(piece)] = piece
            case 1:
                found[at:at] = piece
            case 2:
                del found[at : at + size]
            case 3 if rng.random() < 0.2:
                del found[at:]
    return bytes(found)


class _Records:
    """Record files: bytes anywhere; lengths with a right checksum; contents framed anew."""

    def __init__(self, folder: Path):
        from PIL import Image

        from aocr.data.records import Example, serialize

        buffer = io.BytesIO()
        Image.new("L", (9, 7), 99).save(buffer, "PNG")
        self.records = [serialize(Example(buffer.getvalue(), f"label {i}", "a.png", 9, 7)) for i in range(4)]
        self.path = str(folder / "r.tfrecords")

    def frame(self, record: bytes, length: int | None = None) -> bytes:
        from aocr.checksum import masked_crc32c

        head = (len(record) if length is None else length).to_bytes(8, "little")
        sums = [masked_crc32c(part).to_bytes(4, "little") for part in (head, record)]
        return head + sums[0] + record + sums[1]

    def make(self, rng: random.Random) -> bytes:
        records, kind, at = list(self.records), rng.randrange(3), rng.randrange(4)
        if kind == 0:
            return mutate(b"".join(map(self.frame, records)), rng)
        if kind == 1:
            records[at] = mutate(records[at], rng)
            return b"".join(map(self.frame, records))
        length = rng.choice((0, 1, 2**31, 2**32, 2**40, 2**63, 2**64 - 1, 2**64 - 16, rng.randrange(400)))
        return b"".join(self.frame(r, length if i == at else None) for i, r in enumerate(records))

    def check(self, data: bytes, rng: random.Random) -> str:
        import tensorflow as tf

        from aocr.data.datasets import summarise
        from aocr.data.records import is_tfrecord, is_verified, read_examples
        from aocr.errors import DatasetError

        Path(self.path).write_bytes(data)
        if is_tfrecord(self.path):
            is_verified(self.path)
        found = list(read_examples(self.path))
        if rng.random() < 0.02:  # slower: builds a graph each time
            try:
                summarise([self.path])
            except (tf.errors.OpError, UnicodeDecodeError) as error:  # as open_dataset turns them
                raise DatasetError(self.path, type(error).__name__) from None
        return f"{len(found)} records"


class _Annotations:
    """Annotation files."""

    def __init__(self, folder: Path):
        self.data = "\ufeffa.png HELLO\r\nb c.png\tcaf\u00e9 \u6f22\r\"q\".jpg '1'\n\n./d/e.png\t\n".encode()

    def make(self, rng: random.Random) -> bytes:
        return mutate(self.data, rng)

    def check(self, data: bytes, rng: random.Random) -> str:
        from aocr.data.annotations import candidate_paths, parse_annotations

        for line in parse_annotations(data, "a.txt"):
            candidate_paths(line.path, "a.txt", "base")
            if line.label is not None:
                line.label.encode()
        return "parsed"


class _Images:
    """Images of all kinds; what is taken must be decoded by TensorFlow to Pillow's pixels."""

    def __init__(self, folder: Path):
        from PIL import Image

        noise = Image.effect_noise((24, 17), 60)
        exif = Image.Exif()
        exif[0x0112] = 6
        kinds = (("PNG", "L"), ("PNG", "P"), ("PNG", "1"), ("PNG", "RGBA"), ("PNG", "I;16"), ("JPEG", "L"))
        kinds += (("JPEG", "RGB"), ("JPEG", "CMYK"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "L"), ("WEBP", "RGB"))
        self.images = []
        for kind, mode in kinds:
            buffer = io.BytesIO()
            image = noise.convert("I").convert(mode) if mode == "I;16" else noise.convert(mode)
            image.save(buffer, kind, **({"exif": exif} if kind == "JPEG" else {}))
            self.images.append(buffer.getvalue())

    def make(self, rng: random.Random) -> bytes:
        return mutate(rng.choice(self.images), rng)

    def check(self, data: bytes, rng: random.Random) -> str:
        import numpy as np
        import tensorflow as tf

        from aocr.data.images import as_png, canonical_image

        found = canonical_image(data)
        try:
            pixels = tf.io.decode_image(found.data, expand_animations=False).numpy()
        except tf.errors.InvalidArgumentError:  # the few that reading turns into png once more
            pixels = tf.io.decode_image(as_png(found.data)).numpy()
        if pixels.shape[:2] != (found.height, found.width):
            raise AssertionError(f"{pixels.shape} against {found.width} x {found.height}")
        ours = tf.io.decode_image(as_png(found.data)).numpy()
        if ours.shape[2] == pixels.shape[2] and not found.data.startswith(b"\xff\xd8"):
            np.testing.assert_array_equal(ours, pixels)
        return "taken"


ODD = (None, True, 0, -1, 1, 0.5, 1e308, 10**9, 10**30, "", "x", "\0", "\u202e", [], [1], {}, {"a": 1})


class _Models:
    """The json files of a model folder: bytes, and odd values."""

    def __init__(self, folder: Path):
        from aocr.config import ModelConfig
        from aocr.folder.model_folder import ModelFolder
        from aocr.text.charset import Charset

        self.folder = ModelFolder(folder)
        self.folder.write_config(ModelConfig(Charset("0123456789")))
        self.folder.write_best(7, 0.5, 0.25, False)
        (folder / "best-7.index").write_text("")
        self.folder.write_calibration(self.folder.best_path(7), 1.5, 10)
        self.good = {name: Path(folder, name).read_bytes() for name in ("model.json", "best.json", "calibration.json")}

    def make(self, rng: random.Random) -> bytes:
        self.name = rng.choice(list(self.good))
        if rng.random() < 0.5:
            return mutate(self.good[self.name], rng)
        value = json.loads(self.good[self.name])
        part = value["model"] if self.name == "model.json" and rng.random() < 0.8 else value
        part[rng.choice([*part, "new"])] = rng.choice(ODD)
        return json.dumps(value).encode()

    def check(self, data: bytes, rng: random.Random) -> str:
        from aocr.folder.shapes import key_shapes

        path = Path(self.folder.file(self.name))
        path.write_bytes(data)
        try:
            config = self.folder.read_config()
            chosen = self.folder.choose()
            key_shapes(config)
            f"{config.network_width} {chosen} {chosen.temperature:.3f} {config.charset.describe()}".encode()
        finally:
            path.write_bytes(self.good[self.name])
        return "taken"


class _Weights:
    """The weights of a model folder: bytes of a checkpoint's index and data, of weights.npz, and of arrays in it."""

    def __init__(self, folder: Path):
        import numpy as np
        import tensorflow as tf

        from aocr.folder.compact import write_compact

        self.folder = folder
        values = {name: np.arange(size, dtype=np.float32) for name, size in (("a/kernel", 64), ("b", 7))}
        tf.train.Checkpoint(averaged={name: tf.Variable(value) for name, value in values.items()}).write(
            str(folder / "best-7")
        )
        write_compact(str(folder / "weights.npz"), values)
        names = ("best-7.index", "best-7.data-00000-of-00001", "weights.npz")
        self.good = {name: (folder / name).read_bytes() for name in names}

    def forged(self, rng: random.Random) -> bytes:
        """The index with bytes of its first block changed and the block's checksum (CRC-32C) made right."""
        from aocr.checksum import masked_crc32c

        data = bytearray(self.good[self.name])
        sums = (
            data[end + 1 : end + 5] == masked_crc32c(bytes(data[: end + 1])).to_bytes(4, "little")
            for end in range(len(data) - 5)
        )
        end = next(end for end, is_sum in enumerate(sums) if is_sum)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(end)
            data[at] = rng.choice((0, 1, 2, 127, 128, 255, data[at] ^ 1 << rng.randrange(8), rng.randrange(256)))
        data[end + 1 : end + 5] = masked_crc32c(bytes(data[: end + 1])).to_bytes(4, "little")
        return bytes(data)

    def make(self, rng: random.Random) -> bytes:
        self.name = rng.choice(("best-7.index", *self.good))
        if self.name == "best-7.index" and rng.random() < 0.8:
            return self.forged(rng)
        if self.name != "weights.npz" or rng.random() < 0.3:
            return mutate(self.good[self.name], rng)
        with zipfile.ZipFile(io.BytesIO(self.good[self.name])) as archive:
            arrays = {name: archive.read(name) for name in archive.namelist()}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", rng.choice((0, 8, 12, 14))) as archive:
            for name, data in arrays.items():
                archive.writestr(name, mutate(data[:128], rng) + data[128:])
        return mutate(buffer.getvalue(), rng) if rng.random() < 0.2 else buffer.getvalue()

    def check(self, data: bytes, rng: random.Random) -> str:
        from aocr.folder.weights import read_weights

        path = self.folder / self.name
        path.write_bytes(data)
        try:
            found = read_weights(str(path if self.name.endswith("npz") else self.folder / "best-7"))
        finally:
            path.write_bytes(self.good[self.name])
        return f"{len(found)} weights"


class _Patterns:
    """Regular expressions against Python's `re`."""

    PARTS = (
        r"a b c 1 \d \w . [ab] [^a] [a-c] (?:ab) (a|b) * + ? {2} {1,3} {,2} {2,} | ( ) [ ] \ ^ $ \A \Z \b {x} - é \x61"
    )

    def __init__(self, folder: Path):
        from aocr.text.charset import Charset

        self.charset = Charset("abc12 \u00e9-")

    def make(self, rng: random.Random) -> str:
        return "".join(rng.choices(self.PARTS.split(" "), k=rng.randint(1, 9)))

    def check(self, pattern: str, rng: random.Random) -> str:
        from aocr.text.patterns import compile_pattern

        automaton = compile_pattern(pattern, self.charset)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matches = re.compile(pattern).fullmatch
        for _ in range(40):
            text = "".join(rng.choices(self.charset.symbols, weights=(6, 6, 3, 3, 1, 1, 1, 1), k=rng.randint(0, 6)))
            if automaton.accepts(self.charset.encode(text)) != bool(matches(text)):
                raise AssertionError(f"{pattern!r} on {text!r}: re says {bool(matches(text))}")
        return "compiled"


KINDS = {kind.__name__[1:].lower(): kind for kind in (_Records, _Annotations, _Images, _Models, _Weights, _Patterns)}


def work(name: str, numbers: range, seed: int) -> None:
    """Child: try inputs one after the other, and print a line for each."""
    from aocr import machine
    from aocr.errors import AocrError

    machine.start_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        kind = KINDS[name](Path(folder))
        for number in numbers:
            rng = random.Random(f"{name} {seed} {number}")
            data = kind.make(rng)
            print(number, "start", flush=True)
            try:
                said = kind.check(data, rng)
            except AocrError as error:
                said = f"refused ({type(error).__name__})"
                str(error).encode()  # what is told can be printed
            except Exception:
                said = "STRAY " + " | ".join(traceback.format_exc().strip().splitlines()[-3:])
            print(number, said, flush=True)


def run(name: str, numbers: range, seed: int) -> Counter:
    """Parent: watch a child, and begin another behind an input that ended or held it."""
    counts: Counter = Counter()
    while numbers:
        command = [sys.executable, __file__, name, "--child", f"{numbers.start}:{numbers.stop}", "--seed", str(seed)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        at, begun = numbers.start - 1, time.monotonic()
        os.set_blocking(child.stdout.fileno(), False)
        rest = ""
        while True:
            ended = child.poll() is not None
            piece = (child.stdout.read() or b"").decode()
            *lines, rest = (rest + piece).split("\n")
            for line in lines:
                number, said = (*line.split(" ", 1), "")[:2]
                if not number.isdigit():  # a library's own words
                    print(f"  {name} {at}: {line}", flush=True)
                    continue
                at, begun = int(number), time.monotonic()
                if said != "start":
                    counts[said.split(" ", 1)[0] if said.startswith("STRAY") else said] += 1
                    numbers = range(at + 1, numbers.stop)
                    if at % 1000 == 999:
                        print(f"  {name}: {at + 1:,} tried", flush=True)
                    if said.startswith("STRAY"):
                        print(f"  {name} {at}: {said}", flush=True)
            if ended and not piece:
                break
            if time.monotonic() - begun > HANG + 60 * (at < numbers.start):
                child.kill()
                counts["HANG"] += 1
                print(f"  {name} {at}: HANG", flush=True)
                numbers = range(at + 1, numbers.stop)
            time.sleep(0.05)
        if numbers and child.returncode:
            counts["CRASH"] += 1
            print(f"  {name} {at}: exit code {child.returncode}", flush=True)
            numbers = range(max(at, numbers.start) + 1, numbers.stop)
    return counts


def main() -> int:
    """Run the kinds asked for; 1 where anything but an AocrError came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        start, stop = map(int, args.child.split(":"))
        work(args.kinds[0], range(start, stop), args.seed)
        return 0
    numbers = range(args.count) if args.only is None else range(args.only, args.only + 1)
    bad = 0
    for name in args.kinds or KINDS:
        begun = time.monotonic()
        counts = run(name, numbers, args.seed)
        told = ", ".join(f"{count:,} {what}" for what, count in counts.most_common())
        print(f"{name}: {len(numbers):,} tried in {time.monotonic() - begun:.0f} s: {told}", flush=True)
        bad += counts["STRAY"] + counts["HANG"] + counts["CRASH"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
