"""kraken: training and reading with its commands."""

from __future__ import annotations

import re
from pathlib import Path

from peer import Model, Reading, SnapshotPeer, Task, read_beside, write_pairs

EPOCH = re.compile(r"stage \d+/\S+ \S+ (\d+)/\1 ")
"""A whole epoch in the log of its training, with the number of batches, of one image each."""
METRIC = re.compile(r"-(\d\.\d+)\.ckpt$")
ON_ONE_THREAD = ("--device", "cpu", "--threads", 1)


class Kraken(SnapshotPeer):
    """The defaults of `ketos train`: a constant rate; but four checks per epoch, so that short limits have a state.

    It ends, as by default, after ten epochs without improvement: 40 checks.
    """

    name = "kraken"
    requirements = ("kraken==7.1.1",)

    def convert(self, task: Task) -> list[object]:
        """Write a `.gt.txt` beside each image, and lists of the images."""
        command = [self.bin / "ketos", *ON_ONE_THREAD, "--workers", 0, "--seed", 1, "train", "--format-type", "path"]
        for name, flag, rows in zip(("train", "val"), ("-t", "-e"), task.split(), strict=True):
            links = write_pairs(task.work / name, task.images, rows)
            (task.work / f"{name}.txt").write_text("".join(f"{link}\n" for link in links), "utf-8")
            command += [flag, task.work / f"{name}.txt"]
        return [*command, "--freq", 0.25, "--lag", 40, "--output", task.work / "model"]

    def best(self, task: Task) -> Path | None:
        """Return the state with the highest validation score, which is in its name."""
        found = [path for path in (task.work / "model").glob("*.ckpt") if METRIC.search(path.name)]
        return max(found, key=lambda path: float(METRIC.search(path.name)[1]), default=None)

    def images(self, task: Task) -> int | None:
        """Count the images of whole epochs."""
        return sum(map(int, EPOCH.findall((task.work / "train.log").read_text("utf-8"))))

    def read(self, task: Task, model: Model | None) -> Reading:
        """Convert the state, then read with one command."""
        weights = model.path.with_suffix(".safetensors")
        self.run([self.bin / "ketos", "convert", "--output", weights, model.path], task.work / "convert.log")
        links = write_pairs(task.work / "test", task.images, task.test)
        inputs = [part for link in links for part in ("-i", link, link.with_suffix(".txt"))]
        command = [self.bin / "kraken", *ON_ONE_THREAD, *inputs, "ocr", "--model", weights, "--no-segmentation"]
        return read_beside(task, links, ".txt", self.run(command, task.work / "read.log").cpu_seconds)
