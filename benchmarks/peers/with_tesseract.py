"""Tesseract, without training: the program of the system, not installed here."""

from __future__ import annotations

import shutil

from peer import Model, Peer, PeerError, Reading, Task

LANGUAGES = {"kannada": "kan", "lines_fraktur": "frk"}


class Tesseract(Peer):
    """One call for all images of a set, each one line, in the language of the set."""

    name = "Tesseract"
    trains = False

    def install(self) -> None:
        """Check that it is there."""
        if not shutil.which("tesseract"):
            raise PeerError("not installed: apt-get install tesseract-ocr tesseract-ocr-kan tesseract-ocr-frk")

    def read(self, task: Task, model: Model | None) -> Reading:
        """Read a list of images; the texts are separated by form feeds, with none or one at the end."""
        paths, output = task.work / "images.txt", task.work / "texts"
        paths.write_text("".join(f"{task.images / path}\n" for path, _ in task.test), "utf-8")
        language = LANGUAGES.get(task.set, "eng")
        run = self.run(["tesseract", paths, output, "--psm", "7", "-l", language], task.work / "read.log")
        texts = output.with_suffix(".txt").read_text("utf-8").split("\f")[: len(task.test)]
        if len(texts) != len(task.test):
            raise PeerError(f"{len(texts)} texts for {len(task.test)} images")
        pairs = zip(task.test, texts, strict=True)
        return Reading({path: text for (path, _), text in pairs}, len(texts) / run.cpu_seconds)
