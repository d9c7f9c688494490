"""The state of a labelling: what waits, what was decided, what is shown, and what may be told of the rest."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aocr.errors import AocrError
from aocr.serving.labelling.estimate import Estimate, estimate_errors
from aocr.serving.labelling.guesses import Guess
from aocr.serving.labelling.label_files import Kind, LabelFiles, Written
from aocr.serving.labelling.queue import Queue, Shown
from aocr.text.charset import normalise


class Changed(AocrError):
    """What was asked is about another image than the one that is shown now, or about other numbers."""


class Decision(NamedTuple):
    """What was done last, so that it can be taken back.

    Attributes:
      shown: the images that it was about.
      written: what it wrote; None where an image was skipped.
      texts: of each image; empty where it was skipped or cannot be read.
      is_changed: whether the one text was not left as it was filled in.
    """

    shown: Sequence[Shown]
    written: Written | None
    texts: Sequence[str]
    is_changed: bool = False


@dataclass(frozen=True)
class Progress:
    """How far the labelling is.

    Attributes:
      total: images.
      labelled, unreadable, skipped: of these.
      validation: labelled images that were drawn at random.
      changed: images of this run whose text was not left as it was filled in.
      decided: images of this run that a person labelled.
    """

    total: int
    labelled: int
    unreadable: int
    skipped: int
    validation: int
    changed: int
    decided: int


class Labelling:
    """Images, the files that decisions go to, and the queue between them. One at a time may use it.

    Args:
      images: real paths, each once.
      guesses: of each image.
      label_files: that decisions go to; what stands in them is decided already.
      seed: of the random draws.
      is_learnt: path -> whether the model has learnt from the image, so that its guess tells nothing of others.

    Attributes:
      images, guesses: as given.
      texts: label of each image that has one, by index.
      unreadable: indexes of the images marked as unreadable.
    """

    def __init__(
        self,
        images: Sequence[str],
        guesses: Sequence[Guess],
        label_files: LabelFiles,
        seed: int = 0,
        is_learnt: Callable[[str], bool] = lambda path: False,
    ):
        self.images, self.guesses, self.files = images, guesses, label_files
        self._is_learnt = functools.cache(lambda index: is_learnt(images[index]))
        numbers = {path: index for index, path in enumerate(images)}
        found = {
            kind: {numbers[path]: text for path, text in label_files.labels(kind).items() if path in numbers}
            for kind in Kind
        }
        self.texts: dict[int, str] = {**found[Kind.TRAINING], **found[Kind.VALIDATION]}
        self.unreadable = set(found[Kind.UNREADABLE]) - set(self.texts)
        self._at_random = set(found[Kind.VALIDATION])
        open = [index for index in range(len(images)) if index not in self.texts and index not in self.unreadable]
        self.queue = Queue([guess.rank for guess in guesses], open, seed, len(images) - len(open))
        self._history: list[Decision] = []
        self._taken_back: dict[int, str] = {}

    def current(self) -> Shown | None:
        """The image to show; None: all are decided."""
        return self.queue.current()

    def filled_in(self, index: int) -> str:
        """The text to begin with: what was typed before it was taken back, else the guess."""
        return self._taken_back.get(index) or self.guesses[index].text

    def accept(self, index: int, text: str) -> None:
        """Label the image that is shown.

        Raises:
          Changed: another one is shown.
          AocrError: there is no text, it has several lines, or the file cannot be written.
        """
        shown, text = self._shown(index), normalise(text.strip())
        if not text:
            raise AocrError("There is no text. Type it, or mark the image as unreadable, or skip it.")
        if len(text.splitlines()) > 1:
            raise AocrError("The text has several lines. Write it on one.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise AocrError("The text has half a character (a lone surrogate). Type it again.") from None
        kind = Kind.VALIDATION if shown.at_random else Kind.TRAINING
        self._decide(kind, [shown], [text])

    def mark_unreadable(self, index: int) -> None:
        """Note that nobody can read the image that is shown.

        Raises:
          Changed, AocrError: as of `accept`.
        """
        self._decide(Kind.UNREADABLE, [self._shown(index)], [""])

    def skip(self, index: int) -> None:
        """Leave the image that is shown for later.

        Raises:
          Changed: another one is shown.
        """
        shown = self._shown(index)
        self._note_random([shown])
        self.queue.skip(shown)
        self._history.append(Decision([shown], None, [""]))

    def _shown(self, index: int) -> Shown:
        shown = self.current()
        if shown is None or shown.index != index:
            raise Changed("Another image is shown now, perhaps because of another window.")
        return shown

    def _note_random(self, shown: Sequence[Shown]) -> None:
        self._at_random.update(image.index for image in shown if image.at_random)

    def _decide(self, kind: Kind, shown: Sequence[Shown], texts: Sequence[str]) -> None:
        indexes = [image.index for image in shown]
        pairs = [(self.images[index], text) for index, text in zip(indexes, texts, strict=True)]
        written = self.files.append(kind, pairs)
        self._note_random(shown)
        if kind is Kind.UNREADABLE:
            self.unreadable.update(indexes)
        else:
            self.texts.update(zip(indexes, texts, strict=True))
        self.queue.decide(indexes)
        is_changed = len(texts) == 1 and texts[0] not in ("", self.guesses[indexes[0]].text)
        self._history.append(Decision(shown, written, texts, is_changed))

    @property
    def can_go_back(self) -> bool:
        """Whether a decision of this run can be taken back."""
        return bool(self._history)

    def back(self) -> None:
        """Take the last decision of this run back; its image is shown again, with its text.

        Raises:
          AocrError: there is none, or its file was changed by another program since.
        """
        if not self._history:
            raise AocrError("Nothing was decided yet since the start. Change earlier labels in the file.")
        shown, written, texts, _ = self._history[-1]
        if written:
            self.files.take_back(written)
        self._history.pop()
        for image, text in zip(shown, texts, strict=True):
            self.texts.pop(image.index, None)
            self.unreadable.discard(image.index)
            self._at_random.discard(image.index)
            self._taken_back[image.index] = text
        self.queue.reopen([image.index for image in shown], shown[0] if len(shown) == 1 else None)

    def acceptable(self, threshold: float) -> list[int]:
        """Images that wait, were not skipped, and have a text of one line that is at least so sure."""
        sure = (i for i in self.queue.unseen if self.guesses[i].sureness >= threshold)
        return sorted(i for i in sure if self.guesses[i].text.splitlines() == [self.guesses[i].text])

    def estimate(self, threshold: float) -> Estimate:
        """How many texts of `acceptable(threshold)` are wrong, told from the images drawn at random.

        They are a random sample of those that wait as far as they are as sure: between the least sure and the surest
        image that waits. Those that the model has learnt from are left out. One that was skipped or is unreadable
        counts as wrong. Where a model was trained meanwhile, the sample holds images too that the former order took for
        their doubt, so that the estimate is rather high.
        """
        rest = self.acceptable(threshold)
        sureness = [self.guesses[i].sureness for i in rest] or [2.0]
        low, high = min(sureness), max(sureness)
        unsettled = self.unreadable | self.queue.skipped
        sample = [i for i in self._at_random | unsettled if low <= self.guesses[i].sureness <= high]
        sample = [i for i in sample if not self._is_learnt(i)]
        wrong = sum(i in unsettled or self.texts.get(i) != self.guesses[i].text for i in sample)
        return estimate_errors(len(rest), len(sample), wrong)

    def accept_all(self, threshold: float, count: int) -> None:
        """Accept the texts of `acceptable(threshold)` as they are filled in.

        Args:
          threshold: least sureness.
          count: of images that the person was told.

        Raises:
          Changed: it is another number now.
          AocrError: the file cannot be written.
        """
        rest = self.acceptable(threshold)
        if len(rest) != count:
            raise Changed(f"It would be {len(rest)} images now, not {count}. Look again.")
        if rest:
            self._decide(Kind.TRAINING, [Shown(i, False) for i in rest], [self.guesses[i].text for i in rest])

    def renew(self, guesses: Sequence[Guess]) -> None:
        """Take the guesses of another model, and order the rest by them."""
        self.guesses = guesses
        self.queue.reorder([guess.rank for guess in guesses])

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            total=len(self.images),
            labelled=len(self.texts),
            unreadable=len(self.unreadable),
            skipped=len(self.queue.skipped),
            validation=len(self._at_random & set(self.texts)),
            changed=sum(decision.is_changed for decision in self._history),
            decided=sum(len(decision.texts) == 1 and decision.texts[0] != "" for decision in self._history),
        )

    def name(self, index: int) -> str:
        """What an image is called on the page: its path from the working directory, where it lies in it."""
        path = os.path.relpath(self.images[index])
        return self.images[index] if path.startswith(os.pardir) else path
