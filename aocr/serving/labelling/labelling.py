"""The state of a labelling: which images wait, what was decided, and an estimate for the rest."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aocr.errors import AocrError
from aocr.reading.symbols import SymbolFilter
from aocr.serving.labelling.guesses import Guess, guess_reading
from aocr.serving.labelling.label_files import AppendedLines, Kind, LabelFiles
from aocr.serving.labelling.offer import MIN_LABELS, absent_kinds, filter_without
from aocr.serving.labelling.queue import Estimate, Queue, QueuedImage, estimate_errors
from aocr.serving.web import HTTPError
from aocr.text.charset import normalise

NUM_CHECKS = 5
"""Images that `Labelling.check` shows."""


class Decision(NamedTuple):
    """A decision that can be undone."""

    images: Sequence[QueuedImage]
    """The images decided on."""
    lines: AppendedLines | None
    """The lines that were written; None if the image was skipped."""
    texts: Sequence[str]
    """The text of each image; empty if it was skipped or is unreadable."""
    is_changed: bool = False
    """Whether the text differs from the suggested one."""


class Labelling:
    """The images, the files that decisions are written to, and the queue. Not thread-safe.

    `images` are real paths, without duplicates; those already in `label_files` count as decided. `was_trained_on`
    takes a path and returns whether the model was trained on this image: its guess is then not representative.
    Readings are shown through `symbol_filter`; None: the labels may show what to drop, which the page offers.
    """

    def __init__(
        self,
        images: Sequence[str],
        guesses: Sequence[Guess],
        label_files: LabelFiles,
        seed: int = 0,
        was_trained_on: Callable[[str], bool] = lambda path: False,
        symbol_filter: SymbolFilter | None = None,
    ):
        self.images, self.guesses, self.files = images, guesses, label_files
        self._plain_guesses, self._offers = guesses, symbol_filter is None
        self._left_out: tuple[str, ...] = ()
        self._would_be: tuple[tuple[str, ...], list[str]] = ((), [])
        self._was_trained_on = functools.cache(lambda index: was_trained_on(images[index]))
        indexes = {path: index for index, path in enumerate(images)}
        labels = {
            kind: {indexes[path]: text for path, text in label_files.labels(kind).items() if path in indexes}
            for kind in Kind
        }
        self.texts: dict[int, str] = {**labels[Kind.TRAINING], **labels[Kind.VALIDATION]}
        self.unreadable = set(labels[Kind.UNREADABLE]) - set(self.texts)
        self._at_random = set(labels[Kind.VALIDATION])
        self._checks: dict[int, float] = {}  # images chosen at random from those at least this sure
        open = [index for index in range(len(images)) if index not in self.texts and index not in self.unreadable]
        self.queue = Queue([guess.rank for guess in guesses], open, seed, len(images) - len(open))
        self.history: list[Decision] = []
        self._drafts: dict[int, str] = {}
        self._filter(symbol_filter or SymbolFilter())

    def suggested_text(self, index: int) -> str:
        """Return the text to show first: the one typed before the image was skipped or undone, or the guess."""
        return self._drafts.get(index) or self.guesses[index].text

    def accept(self, index: int, text: str) -> None:
        """Label the current image.

        Raises:
          HTTPError: another image is current (409).
          AocrError: the text is empty or not a single line, or the file cannot be written.
        """
        image, text = self._current(index), normalise(text.strip())
        if not text:
            raise AocrError("The text is empty. Type it, mark the image as unreadable, or skip the image.")
        if text.encode("utf-8", "ignore").decode().splitlines() != [text]:
            raise AocrError("The text must be a single line of valid Unicode.")
        self._decide(Kind.VALIDATION if image.at_random else Kind.TRAINING, [image], [text])

    def mark_unreadable(self, index: int) -> None:
        """Record that nobody can read the current image. Raises the same errors as `accept`."""
        self._decide(Kind.UNREADABLE, [self._current(index)], [""])

    def skip(self, index: int, text: str = "") -> None:
        """Postpone the current image; keep the text typed so far. Raises an HTTPError as `accept` does."""
        image = self._current(index)
        if text.strip():
            self._drafts[index] = text
        self.queue.skip(image)
        self._add_to_history(Decision([image], None, [""]))

    def _current(self, index: int) -> QueuedImage:
        image = self.queue.current()
        if image is None or image.index != index:
            raise HTTPError(409, "Another image is shown now. Is this page open in a second window?")
        return image

    def _add_to_history(self, decision: Decision) -> None:
        self.history.append(decision)
        self._at_random.update(image.index for image in decision.images if image.at_random)

    def _decide(self, kind: Kind, images: Sequence[QueuedImage], texts: Sequence[str]) -> None:
        indexes = [image.index for image in images]
        lines = self.files.append(kind, [self.images[index] for index in indexes], texts)
        if kind is Kind.UNREADABLE:
            self.unreadable.update(indexes)
        else:
            self.texts.update(zip(indexes, texts, strict=True))
        self.queue.decide(indexes)
        is_changed = len(texts) == 1 and texts[0] not in ("", self.guesses[indexes[0]].text)
        self._add_to_history(Decision(images, lines, texts, is_changed))
        if self._left_out:
            self.leave_out(True)  # this label may have what the others had not

    def back(self) -> None:
        """Undo this run's last decision, and show its image again, with the text that was typed.

        Raises:
          AocrError: there is nothing to undo, or the file was changed by another program.
        """
        if not self.history:
            raise AocrError("There is nothing to undo in this run. Edit earlier labels in the file.")
        decision = self.history[-1]
        if decision.lines:
            self.files.remove_last(decision.lines)
        self.history.pop()
        for image, text in zip(decision.images, decision.texts, strict=True):
            self.texts.pop(image.index, None)
            self.unreadable.discard(image.index)
            self._at_random.discard(image.index)
            if text:
                self._drafts[image.index] = text
        self.queue.reopen(decision.images)

    def acceptable(self, threshold: float) -> list[int]:
        """Return the unseen images whose guess is a single line with a score of at least `threshold`."""
        likely = [i for i in self.queue.unseen if self.guesses[i].score >= threshold]
        return sorted(i for i in likely if self.guesses[i].text.splitlines() == [self.guesses[i].text])

    def estimate(self, threshold: float) -> Estimate:
        """Estimate how many texts of `acceptable(threshold)` are wrong.

        The sample consists of images chosen at random whose scores are in the range of the estimated ones, and those
        that `check` chose from this range or a wider one, without those that the model was trained on. Skipped and
        unreadable images count as wrong. After a retraining the sample also has images that the earlier order showed
        for their low score, so the estimate is too high.
        """
        rest = self.acceptable(threshold)
        scores = [self.guesses[i].score for i in rest] or [2.0]
        low, high = min(scores), max(scores)
        unsettled = self.unreadable | self.queue.skipped
        sample = {i for i in self._at_random | unsettled if low <= self.guesses[i].score <= high}
        sample |= {i for i in self._checks.keys() & self.texts if self._checks[i] <= threshold <= self.guesses[i].score}
        sample = {i for i in sample if not self._was_trained_on(i)}
        wrong = sum(i in unsettled or self.texts.get(i) != self.guesses[i].text for i in sample)
        return estimate_errors(len(rest), len(sample), wrong)

    def check(self, threshold: float) -> None:
        """Show a few images of `acceptable(threshold)` next, chosen at random, for the estimate."""
        self._checks.update(dict.fromkeys(self.queue.show_next(self.acceptable(threshold), NUM_CHECKS), threshold))

    @property
    def num_waiting_checks(self) -> int:
        """Number of images of `check` that are still to be shown."""
        return len(self.queue.unseen & self._checks.keys())

    def digest(self, threshold: float) -> str:
        """Return a digest of the images of `acceptable(threshold)` and their texts."""
        rest = [(i, self.guesses[i].text) for i in self.acceptable(threshold)]
        return hashlib.sha256(json.dumps(rest).encode()).hexdigest()

    def accept_all(self, threshold: float, digest: str) -> None:
        """Accept the texts of `acceptable(threshold)`, if these are still those shown to the user, with this digest."""
        rest = self.acceptable(threshold)
        if self.digest(threshold) != digest:
            raise HTTPError(409, "Other images are this sure now. Nothing was accepted: check the number again.")
        if rest:
            for i in rest:  # nobody has checked these
                self._checks.pop(i, None)
            images = [QueuedImage(i, False) for i in rest]
            self._decide(Kind.TRAINING, images, [self.guesses[i].text for i in rest])

    def renew(self, guesses: Sequence[Guess]) -> None:
        """Replace the guesses with those of another model; the order changes, the current image stays."""
        self._plain_guesses, self._would_be, self._checks = guesses, ((), []), {}
        self._filter(filter_without(self._left_out, self._readings()) if self._left_out else self._shown_through)

    def _readings(self) -> list[str]:
        return [guess.reading.text for guess in self._plain_guesses]

    def _filter(self, symbol_filter: SymbolFilter) -> None:
        """Show all readings through a filter; the order changes."""
        self._shown_through = symbol_filter
        self.guesses = list(map(self._filtered, self._plain_guesses))
        self.queue.ranks = [guess.rank for guess in self.guesses]

    def _filtered(self, guess: Guess) -> Guess:
        reading = self._shown_through.apply(guess.reading)
        return guess if reading is guess.reading else guess_reading(reading)

    def leave_out(self, is_on: bool) -> None:
        """Leave out of all readings what no label contains, or show the readings as they are."""
        kinds = absent_kinds(self.texts.values()) if is_on else ()
        if self._offers and kinds != self._left_out:
            self._left_out = kinds
            self._filter(filter_without(kinds, self._readings()))

    def offer(self) -> dict[str, Any] | None:
        """Return what the page offers to leave out: kinds of symbols, and how many waiting readings would change."""
        kinds = self._left_out or absent_kinds(self.texts.values())
        if not self._offers or not kinds or len(self.texts) < MIN_LABELS:
            return None
        if self._would_be[0] != kinds:
            readings = self._readings()
            kept = filter_without(kinds, readings).kept
            self._would_be = kinds, ["".join(map(kept, text)) for text in readings]
        changes = sum(self._would_be[1][i] != self._plain_guesses[i].reading.text for i in self.queue.unseen)
        return {"kinds": kinds, "changes": changes, "is_on": bool(self._left_out)} if changes else None

    def progress(self) -> dict[str, int]:
        """Return the counts of images that the page shows."""
        return {
            "total": len(self.images),
            "labelled": len(self.texts),
            "unreadable": len(self.unreadable),
            "skipped": len(self.queue.skipped),
            "validation": len(self._at_random & set(self.texts)),
            # in this run: suggested texts that were corrected, and images that were labelled one by one
            "changed": sum(decision.is_changed for decision in self.history),
            "decided": sum(len(decision.texts) == 1 and decision.texts[0] != "" for decision in self.history),
        }
