"""Retrain in the background while images are labelled, in a separate process whose failure stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from aocr import files
from aocr.config import PLAIN
from aocr.errors import AocrError
from aocr.report.lines import pluralise
from aocr.serving.labelling.guesses import Guess
from aocr.serving.labelling.label_files import Kind
from aocr.serving.labelling.labelling import Labelling

log = logging.getLogger("aocr")

MAX_TIME = "10m"
"""Time limit of a training."""
STOP_SECONDS = 30.0
"""Maximum time for a training to save and stop before it is killed."""


def retrained_model(output: str) -> str:
    """Return the model folder that is trained on the labels in `output`."""
    return f"{os.path.splitext(output)[0]}.model"


class Retraining:
    """Trains from the model `init_from` after `every` new labels, then reads and sorts the images again.

    `read` takes a model folder and returns the guesses of all images; it is called in a thread.
    """

    def __init__(self, labelling: Labelling, init_from: str, every: int | None, read: Callable[[str], Sequence[Guess]]):
        self.labelling, self.init_from, self.every, self.read = labelling, init_from, every, read
        self.status = ""
        self._labels_at_start = len(labelling.texts)
        self._task: asyncio.Task | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopped = False

    @property
    def is_running(self) -> bool:
        """Whether a training, or the reading after it, is running."""
        return self._task is not None and not self._task.done()

    def start_if_due(self) -> None:
        """Start a training if there are enough new labels. Call it after each decision."""
        num_labels = len(self.labelling.texts)
        self._labels_at_start = min(self._labels_at_start, num_labels)  # decisions may have been undone
        if self.every and not self.is_running and num_labels - self._labels_at_start >= self.every:
            self._labels_at_start = num_labels
            self._task = asyncio.create_task(self._run(pluralise(num_labels, "label")))

    async def _run(self, labels: str) -> None:
        self._report(f"Training on {labels} ...")
        try:
            model = await self._train()
            self._report(f"Trained on {labels}; reading the images again ...")
            guesses = await asyncio.to_thread(self.read, model)
        except Exception as error:  # no failure may stop the labelling
            if self._is_stopped:
                return
            reason = str(error) if isinstance(error, AocrError) else f"{type(error).__name__}: {files.one_line(error)}."
            self._report(f"Training on {labels} failed: {reason} The order of the images stays the same.")
        else:
            self.labelling.renew(guesses)
            self._report(f"Images are now sorted by the model trained on {labels} ({model}).")

    def _report(self, status: str) -> None:
        self.status = status
        log.info("%s", status)

    async def _train(self) -> str:
        """Train a model, put it in place of the earlier one, and return its folder."""
        label_files = self.labelling.files
        model = retrained_model(label_files.output)
        unfinished = f"{model}.new"
        argv = [sys.executable, "-m", "aocr", "train", label_files.paths[Kind.TRAINING]]
        validation = label_files.paths[Kind.VALIDATION]
        if os.path.exists(validation) and os.path.getsize(validation):
            argv += ["--validation", validation]
        argv += ["--columns", PLAIN, "--empty-labels"]  # the labels are what was typed
        argv += ["--init-from", self.init_from, "--model-dir", unfinished, "--no-resume", "--max-time", MAX_TIME]
        if label_files.data_base_dir:
            argv += ["--data-base-dir", label_files.data_base_dir]
        try:
            await self._run_process(argv)
            if os.path.isdir(model):
                files.remove(model)
            files.rename(unfinished, model)
        finally:
            with contextlib.suppress(OSError):
                files.remove(unfinished)
        return model

    async def _run_process(self, argv: list[str]) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches this process only, which then stops the training
        )
        _, stderr = await self._process.communicate()
        if self._process.returncode:
            lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.startswith("aocr: ")]
            reason = lines[-1].removeprefix("aocr: ") if lines else f"exit code {self._process.returncode}."
            raise AocrError(reason)

    async def stop(self) -> None:
        """Stop a running training."""
        self._is_stopped = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
        if self._task is not None:
            await asyncio.wait([self._task])
