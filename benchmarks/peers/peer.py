"""What every peer does: install, convert the lists, train within processor time, read the test list."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

THREAD_SETTINGS = "OMP_NUM MKL_NUM OPENBLAS_NUM NUMEXPR_NUM TF_NUM_INTRAOP TF_NUM_INTEROP"
ONE_THREAD = {f"{name}_THREADS": "1" for name in THREAD_SETTINGS.split()}
POLL_SECONDS = 0.5
HELD_OUT = 0.05
"""Share of the training list that a peer without a split of its own gets as its validation list; 20 % of up to 100."""

Rows = Sequence[tuple[str, str]]
"""Image path and label."""


class PeerError(Exception):
    """Why a peer has no score: the text of its cell."""


class Task(NamedTuple):
    """A data set with a number of labels, and where a peer may write."""

    set: str
    images: Path
    train: Rows
    test: Rows
    work: Path

    def split(self) -> tuple[Rows, Rows]:
        """Return the training and the validation rows, the same for every peer that needs both."""
        rows = list(self.train)
        random.Random(1).shuffle(rows)
        held_out = max(1, round(len(rows) * (0.2 if len(rows) <= 100 else HELD_OUT)))
        return rows[held_out:], rows[:held_out]


@dataclass
class Model:
    """What a training left, and what it took."""

    path: Path | None
    """None: it has not saved anything yet."""
    cpu_seconds: float
    images: int | None = None
    """Images seen, repeats included."""
    ended: bool = False
    """Whether it ended by itself, within the limit."""


class Reading(NamedTuple):
    """Texts by image path, images per processor second with the start, and once warm (batches of 32)."""

    texts: dict[str, str]
    speed: float
    warm_speed: float | None = None


class Run(NamedTuple):
    """How a process ended."""

    cpu_seconds: float
    ended: bool


class Peer:
    """A program beside `aocr`. Subclasses say how it is installed, trained and run."""

    name = ""
    environment = ""
    """Folder of its installation: of two ways to use one program the same."""
    requirements: tuple[str, ...] = ()
    trains = True

    def __init__(self, work: Path):
        self.folder = work / (self.environment or self.name).lower()
        self.bin = self.folder / "venv/bin"

    def install(self) -> None:
        """Install into a virtual environment of its own; write what it took to `installed.json`.

        Raises:
          PeerError: the installation failed.
        """
        if (self.folder / "installed.json").exists():
            return
        shutil.rmtree(self.folder / "venv", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        start, before = time.monotonic(), child_seconds()
        log = self.folder / "install.log"
        log.unlink(missing_ok=True)
        self.run([sys.executable, "-m", "venv", self.folder / "venv"], log)
        self.run([self.bin / "pip", "install", "--no-cache-dir", *self.requirements], log)
        size = sum(p.lstat().st_size for p in (self.folder / "venv").rglob("*") if not p.is_dir())
        facts = {"seconds": time.monotonic() - start, "cpu_seconds": child_seconds() - before, "bytes": size}
        (self.folder / "installed.json").write_text(json.dumps({k: round(v) for k, v in facts.items()}), "utf-8")

    def train(self, task: Task, minutes: Sequence[float]) -> Iterator[tuple[float, Model]]:
        """Train with each number of processor minutes, ascending.

        Raises:
          PeerError: the training failed, or left no model.
        """
        raise NotImplementedError

    def read(self, task: Task, model: Model | None) -> Reading:
        """Read the test images.

        Raises:
          PeerError: reading failed.
        """
        raise NotImplementedError

    def run(self, command: Sequence[object], log: Path, limit: float = 1e9, **more) -> Run:
        """Run a command to its end, or to a number of processor seconds.

        Raises:
          PeerError: it failed.
        """
        done, code = run_limited([str(part) for part in command], log, limit, **more)
        if code and done.ended:
            raise PeerError(f"{Path(str(command[0])).name}: {last_line(log)}")
        return done

    def read_inside(self, task: Task, *args: object) -> Reading:
        """Run this peer's file in its environment: it writes texts.json, {"texts": [...], "seconds": warm}."""
        paths = task.work / "test-images.json"
        paths.write_text(json.dumps([str(task.images / path) for path, _ in task.test]), "utf-8")
        source, output = sys.modules[type(self).__module__].__file__, task.work / "texts.json"
        output.unlink(missing_ok=True)
        run = self.run([self.bin / "python", source, "read", paths, output, *args], task.work / "read.log")
        found = json.loads(output.read_text("utf-8"))
        texts = {path: text for (path, _), text in zip(task.test, found["texts"], strict=True)}
        return Reading(texts, len(texts) / run.cpu_seconds, len(texts) / found["seconds"])


class SnapshotPeer(Peer):
    """A peer whose learning rate does not depend on the limit: one long training gives a model for each limit."""

    def convert(self, task: Task) -> list[object]:
        """Write the lists as the peer reads them; return the command that trains."""
        raise NotImplementedError

    def best(self, task: Task) -> Path | None:
        """Return the model that the peer itself would keep so far."""
        raise NotImplementedError

    def images(self, task: Task) -> int | None:
        """Return the number of images seen so far."""
        return None

    def train(self, task: Task, minutes: Sequence[float]) -> Iterator[tuple[float, Model]]:
        """Train once to the highest limit; keep what is the best at each."""
        kept = {limit: task.work / f"model-{limit:g}.json" for limit in minutes}
        waiting = [limit for limit in minutes if not kept[limit].exists()]

        def keep(seconds: float, ended: bool = False) -> None:
            while waiting and (ended or seconds >= 60 * waiting[0]):
                file, best = kept[waiting.pop(0)], self.best(task)
                copy = best and file.with_suffix(best.suffix)
                if best:
                    (shutil.copytree if best.is_dir() else shutil.copy)(best, copy)
                facts = {"path": copy and str(copy), "images": self.images(task), "ended": ended}
                file.write_text(json.dumps(facts | {"cpu_seconds": seconds}), "utf-8")

        if waiting:
            done = self.run(self.convert(task), task.work / "train.log", 60 * waiting[-1], on_poll=keep)
            keep(done.cpu_seconds, ended=True)
        for limit, file in kept.items():
            facts = json.loads(file.read_text("utf-8"))
            yield limit, Model(**facts | {"path": facts["path"] and Path(facts["path"])})


def run_limited(
    command: list[str], log: Path, limit: float, on_poll: Callable[[float], None] = lambda seconds: None, **env: str
) -> tuple[Run, int]:
    """Run a command in a session of its own; kill the session after `limit` processor seconds of all its processes.

    Args:
      command: the program and its arguments; it runs in the folder of the log.
      log: gets its output, appended.
      limit: in seconds.
      on_poll: called a few times a second with the processor seconds so far.
      env: added to the environment.

    Returns:
      How it ended, and its exit code.
    """
    before, seconds, ended = child_seconds(), 0.0, False
    with open(log, "ab") as file:
        output = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, "cwd": log.parent}
        process = subprocess.Popen(command, env=os.environ | ONE_THREAD | env, start_new_session=True, **output)
        try:
            while not ended and seconds < limit:
                try:
                    process.wait(POLL_SECONDS)
                    ended = True
                except subprocess.TimeoutExpired:
                    seconds = max(seconds, session_seconds(process.pid))
                    on_poll(seconds)
        finally:
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Run(max(seconds, child_seconds() - before), ended), process.returncode


def session_seconds(session: int) -> float:
    """Return the processor seconds of all processes of a session, ended children included (Linux)."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if fields[3] == str(session):
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def child_seconds() -> float:
    """Return the processor seconds of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, shortened."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip(" ╭╮╰╯─│\r")]
    return (lines[-1] if lines else "no output")[:200]


def write_pairs(folder: Path, images: Path, rows: Rows) -> list[Path]:
    """Link each image into the folder, by number, with its label in a `.gt.txt` beside it; return the links."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    links = []
    for number, (path, label) in enumerate(rows):
        link = folder / f"{number:05}{Path(path).suffix}"
        link.symlink_to(images / path)
        link.with_suffix(".gt.txt").write_text(label + "\n", "utf-8")
        links.append(link)
    return links


def read_beside(task: Task, links: list[Path], suffix: str, seconds: float) -> Reading:
    """Return the texts that a command has written beside the links; an image without one was not read.

    Raises:
      PeerError: there is none at all.
    """
    files = zip(task.test, (link.with_suffix(suffix) for link in links), strict=True)
    texts = {path: file.read_text("utf-8") for (path, _), file in files if file.exists()}
    if not texts:
        raise PeerError(f"it has read {len(links)} images and written no text")
    return Reading(texts, len(links) / seconds)
