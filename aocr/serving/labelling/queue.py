"""Which image is shown next: the least sure one, and each tenth time one drawn at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

RANDOM_EVERY = 10
"""Of so many images shown one is drawn at random: the least sure ones alone cannot tell how sure the others are."""

Rank = tuple[float, ...]
"""What images are ordered by, the least sure first."""


@dataclass(frozen=True)
class Shown:
    """An image that is shown.

    Attributes:
      index: of the image.
      at_random: whether it was drawn at random.
    """

    index: int
    at_random: bool


class Queue:
    """The order in which images are shown. The same seed and decisions give the same order.

    Args:
      ranks: of the images, by their index.
      open: indexes of the images that wait for a decision.
      seed: of the draws.
      num_shown: images shown before, in an earlier run.
    """

    def __init__(self, ranks: Sequence[Rank], open: Sequence[int], seed: int = 0, num_shown: int = 0):
        self._ranks, self._open = ranks, set(open)
        self._random, self._num_shown = random.Random(seed), num_shown
        self._waiting: list[Shown] = []
        self._skipped: list[Shown] = []

    def __len__(self) -> int:
        """Images that wait for a decision, skipped ones too."""
        return len(self._open)

    @property
    def skipped(self) -> frozenset[int]:
        """Images that were skipped and are not decided yet."""
        return frozenset(shown.index for shown in self._skipped)

    @property
    def unseen(self) -> set[int]:
        """Images that wait for a decision and were not skipped."""
        return self._open - self.skipped

    def current(self) -> Shown | None:
        """The image to show now; the same one until it is decided or skipped. None: all are decided."""
        if not self._waiting and self._open:
            self._waiting.append(self._pick())
        return self._waiting[-1] if self._waiting else None

    def _pick(self) -> Shown:
        unseen = self.unseen
        if not unseen:  # all that is left was skipped: once more, in the order in which it was
            return self._skipped[0]
        self._num_shown += 1
        if self._num_shown % RANDOM_EVERY == 0:
            return Shown(self._random.choice(sorted(unseen)), True)
        return Shown(min(unseen, key=lambda index: (self._ranks[index], index)), False)

    def decide(self, indexes: Sequence[int]) -> None:
        """Take images out: they have been decided."""
        decided = set(indexes)
        self._open -= decided
        self._skipped = [shown for shown in self._skipped if shown.index not in decided]
        self._waiting = [shown for shown in self._waiting if shown.index not in decided]

    def skip(self, shown: Shown) -> None:
        """Leave an image for later: it comes again after all others, as it was shown before."""
        self.decide([shown.index])
        self._open.add(shown.index)
        self._skipped.append(shown)

    def reopen(self, indexes: Sequence[int], shown: Shown | None = None) -> None:
        """Put images back whose decisions were taken back.

        Args:
          indexes: of the images.
          shown: the one of them that is shown at once, as it was shown before; None: they come in their order.
        """
        self.decide(indexes)
        self._open.update(indexes)
        if shown:
            self._waiting.append(shown)

    def reorder(self, ranks: Sequence[Rank]) -> None:
        """Order what waits anew; what is shown now stays."""
        self._ranks = ranks
