"""Training anew while images are labelled: in a process of its own, and a failure stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aocr import files
from aocr.errors import AocrError, escape_control
from aocr.report.lines import pluralise
from aocr.serving.labelling.guesses import Guess
from aocr.serving.labelling.label_files import Kind
from aocr.serving.labelling.labelling import Labelling

log = logging.getLogger("aocr")

MAX_TIME = "10m"
"""Of one training."""
PATIENCE_SECONDS = 30.0
"""How long a training may take to save and end when it is told to."""


def _start_of(root: str) -> tuple[str, ...]:
    """Words that start the package in `root`, and nothing of the working directory."""
    program = f"import sys; sys.path.append({root!r}); from aocr.__main__ import run; sys.argv[0] = 'aocr'; run()"
    return sys.executable, "-P", "-c", program


def model_beside(output: str) -> str:
    """The folder of the model that is trained on the labels in `output`."""
    return f"{os.path.splitext(output)[0]}.model"


def new_beside(output: str) -> str:
    """The folder that it is trained in, and that then takes the place of the former one."""
    return f"{model_beside(output)}.new"


class Retraining:
    """Trains after each so many labels, and then has the images read and ordered anew.

    Args:
      labelling: whose labels are learnt.
      init_from: model folder that each training starts from.
      every: labels from one training to the next; None: there is none.
      read: model folder -> the guesses of all images; called in a thread of its own.

    Attributes:
      told: how it stands, for people; empty where there was no training yet.
    """

    def __init__(self, labelling: Labelling, init_from: str, every: int | None, read: Callable[[str], Sequence[Guess]]):
        self.labelling, self.init_from, self.every, self.read = labelling, init_from, every, read
        self.told = ""
        self._begun_at = len(labelling.texts)
        self._task: asyncio.Task | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._is_ended = False

    @property
    def is_running(self) -> bool:
        """Whether a training is under way, or the reading after it."""
        return self._task is not None and not self._task.done()

    def consider(self) -> None:
        """Begin a training if it is time for one; to be called after each decision."""
        num_labels = len(self.labelling.texts)
        self._begun_at = min(self._begun_at, num_labels)  # labels were taken back
        if self.every and not self.is_running and num_labels - self._begun_at >= self.every:
            self._begun_at = num_labels
            self._task = asyncio.create_task(self._run(num_labels))

    async def _run(self, num_labels: int) -> None:
        labels = pluralise(num_labels, "label")
        self._tell(f"Training on {labels} ...")
        try:
            model = await self._train()
            self._tell(f"Trained on {labels}; reading the images anew ...")
            guesses = await asyncio.to_thread(self.read, model)
        except Exception as error:  # whatever it is, it must not stop the labelling
            if self._is_ended:
                return
            reason = str(error) if isinstance(error, AocrError) else f"{type(error).__name__}: {files.one_line(error)}."
            self._tell(f"The training on {labels} failed: {reason} Labelling goes on in the same order.")
        else:
            self.labelling.renew(guesses)
            self._tell(f"The order is that of the model trained on {labels} ({model}).")

    def _tell(self, message: str) -> None:
        self.told = message
        log.info("%s", message)

    async def _train(self) -> str:
        """Train, and put the model in the place of the former one.

        Raises:
          AocrError: the training failed.
        """
        paths = self.labelling.files.paths
        model = model_beside(self.labelling.files.output)
        new = new_beside(self.labelling.files.output)
        validation = paths[Kind.VALIDATION]
        held_out = ["--validation", validation] if os.path.exists(validation) and os.path.getsize(validation) else []
        base = self.labelling.files.data_base_dir
        argv = [
            *_start_of(str(Path(__file__).parents[3])),
            *("train", paths[Kind.TRAINING], *held_out),
            *("--init-from", self.init_from, "--model-dir", new, "--no-resume", "--max-time", MAX_TIME),
            *(["--data-base-dir", base] if base else []),
        ]
        try:
            await self._finished(argv)
            if os.path.isdir(model):
                files.remove(model)
            files.rename(new, model)
        finally:
            with contextlib.suppress(OSError):
                files.remove(new)  # what a failed training left
        return model

    async def _finished(self, argv: list[str]) -> None:
        """Run a program to its end.

        Raises:
          AocrError: it failed.
        """
        self._process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
        )
        _, said = await self._process.communicate()
        if self._process.returncode:
            raise AocrError(_reason(said.decode("utf-8", "replace"), self._process.returncode))

    async def stop(self) -> None:
        """End the training that is under way."""
        self._is_ended = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), PATIENCE_SECONDS)
            except TimeoutError:
                self._process.kill()
        if self._task is not None:
            await asyncio.wait([self._task])


def _reason(said: str, code: int) -> str:
    """The line in which a program of aocr told why it failed."""
    lines = [line.removeprefix("aocr: ") for line in said.splitlines() if line.startswith("aocr: ")]
    return escape_control(lines[-1]) if lines else f"it ended with code {code}."
