"""aocr: from `words` (the default), from nothing, and `words` without any training."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

from peer import Model, Peer, Reading, Task

RESERVE = 10
"""Processor seconds of the start and the end of a training, which `--max-time` does not count."""


class Aocr(Peer):
    """`aocr train` without flags but `--max-time`: it starts from the model in the package."""

    name, environment = "aocr", "aocr"
    requirements = (f"{Path(__file__).resolve().parents[2]}[onnx]",)
    flags: tuple[str, ...] = ()

    def train(self, task: Task, minutes: Sequence[float]) -> Iterator[tuple[float, Model]]:
        """Train anew for each limit, as the learning rate falls towards it; one that ended by itself needs no more."""
        model: Model | None = None
        (task.work / "train.txt").write_text("".join(f"{path} {label}\n" for path, label in task.train), "utf-8")
        for limit in minutes:
            if model and model.ended:
                yield limit, model
                continue
            folder, log = task.work / f"model-{limit:g}", task.work / f"train-{limit:g}.log"
            time_flag = f"--max-time={max(1, round(60 * limit - RESERVE))}s"
            flags = ["train.txt", "--data-base-dir", task.images, "--model-dir", folder, time_flag, *self.flags]
            done = self.run([self.bin / "python", __file__, "train", *flags], log, 2 * 60 * limit)
            steps = json.loads((folder / "history.json").read_text("utf-8"))["points"][-1]["step"]
            batch = json.loads((folder / "train.json").read_text("utf-8"))["train"]["batch_size"]
            ended = "(--max-time" not in log.read_text("utf-8")
            model = Model(folder, done.cpu_seconds, steps * batch, ended)
            yield limit, model

    def read(self, task: Task, model: Model | None) -> Reading:
        """Read in one process."""
        return self.read_inside(task, model.path if model else "words")


class AocrFromNothing(Aocr):
    """Random weights at the start, as the other peers have them."""

    name = "aocr from nothing"
    flags = ("--init-from", "none")


class Words(Aocr):
    """The model in the package, as it is."""

    name = "words"
    trains = False


def train(*args: str) -> None:
    """Run `aocr train` with a clock that counts the seconds of this process on the processor."""
    from aocr.__main__ import run
    from aocr.training import monitor

    monitor.time = SimpleNamespace(monotonic=time.process_time)
    sys.argv = ["aocr", "train", *args]
    run()


def read(paths: str, output: str, model: str) -> None:
    """Read all images twice in batches of 32; time the second pass."""
    import aocr

    reader, images = aocr.load(model, batch_size=32), json.loads(Path(paths).read_text("utf-8"))
    reader.predict(images)
    start = time.process_time()
    texts = [prediction.text for prediction in reader.predict(images)]
    found = {"texts": texts, "seconds": time.process_time() - start}
    Path(output).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    {"train": train, "read": read}[sys.argv[1]](*sys.argv[2:])
