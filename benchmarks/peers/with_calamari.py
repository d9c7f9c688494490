"""Calamari: training and reading with its commands."""

from __future__ import annotations

from pathlib import Path

from peer import Model, Reading, SnapshotPeer, Task, read_beside, write_pairs


class Calamari(SnapshotPeer):
    """The defaults of `calamari-train`: a constant rate; the best model so far is kept after each epoch."""

    name = "Calamari"
    requirements = ("calamari-ocr==2.3.1",)

    def convert(self, task: Task) -> list[object]:
        """Write a `.gt.txt` beside each image."""
        command = [self.bin / "calamari-train", "--trainer.output_dir", task.work / "model", "--trainer.random_seed", 1]
        for name, rows in zip(("train", "val"), task.split(), strict=True):
            command += [f"--{name}.images", *write_pairs(task.work / name, task.images, rows)]
        return command

    def best(self, task: Task) -> Path | None:
        """Return the folder with its `best.ckpt`, once it is there."""
        return task.work / "model" if (task.work / "model/best.ckpt.json").exists() else None

    def images(self, task: Task) -> int | None:
        """Count the epochs of which it has saved the state."""
        epochs = [int(p.name.split("_")[-1]) for p in (task.work / "model/checkpoint").glob("checkpoint_*")]
        return max(epochs, default=0) * len(task.split()[0])

    def read(self, task: Task, model: Model | None) -> Reading:
        """Read with one command, which writes a text beside each image."""
        links = write_pairs(task.work / "test", task.images, task.test)
        command = [self.bin / "calamari-predict", "--checkpoint", model.path / "best.ckpt", "--data.images", *links]
        return read_beside(task, links, ".pred.txt", self.run(command, task.work / "read.log").cpu_seconds)
