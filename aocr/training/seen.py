"""What a model has seen: images that it has learnt from must not be held out later, when there are more of them.

How many images are held out follows their number, and those of a small set are learnt from at the end. So the model
folder tells of each image, by its place in the split, what became of it; a model that starts from another's weights
knows what that one has learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from aocr import files
from aocr.checksum import masked_crc32c
from aocr.data.automatic import MIN_HELD_OUT, is_small, is_split, validation_mask
from aocr.data.datasets import Summary
from aocr.errors import CheckpointError, TrainingError
from aocr.folder.model_folder import SEEN, ModelFolder

MAX_BYTES = 2**28
"""Of the file, 8 for each image."""


class Role(IntEnum):
    """What became of an image; the numbers are stored."""

    NEW = -1
    LEARNT = 0
    HELD_OUT = 1
    CLOSING = 2  # held out, to be learnt from at the end
    VALIDATION = 3  # of another set, which was validated on
    MIXED_IN = 4  # without a label of the set's: learnt from, and yet new once it has one


KNOWN = Role.LEARNT, Role.MIXED_IN
"""What the weights have learnt from."""


class Seen(NamedTuple):
    """The images that a model has seen.

    Attributes:
      places: (N,) int64, sorted, `split_key` each.
      roles: (N,) `Role` of each.
    """

    places: np.ndarray
    roles: np.ndarray

    def roles_of(self, places: np.ndarray | Sequence[int]) -> np.ndarray:
        """(M,) places -> (M,) `Role`; NEW where the image was not seen."""
        if not len(self.places):
            return np.full(len(places), Role.NEW)
        at = np.searchsorted(self.places, places).clip(max=len(self.places) - 1)
        return np.where(self.places[at] == places, self.roles[at], Role.NEW)

    def is_known(self, places: np.ndarray | Sequence[int]) -> np.ndarray:
        """(M,) places -> (M,) bool, whether the weights have learnt from them."""
        return np.isin(self.roles_of(places), KNOWN)

    def but(self, places: np.ndarray, roles: np.ndarray | Role) -> Seen:
        """As this, with other roles for these (M,) places."""
        places, first = np.unique(places, return_index=True)
        others = ~np.isin(self.places, places)
        roles = np.broadcast_to(roles, len(first)) if isinstance(roles, Role) else roles[first]
        all_places = np.concatenate([self.places[others], places])
        order = np.argsort(all_places)
        return Seen(all_places[order], np.concatenate([self.roles[others], roles])[order])

    def closed(self, role: Role = Role.LEARNT) -> Seen:
        """As this, with what is learnt from at the end in another role: learnt, as it may have been by now."""
        return Seen(self.places, np.where(self.roles == Role.CLOSING, role, self.roles))

    def mixed_in(self, places: np.ndarray) -> Seen:
        """As this, with these (M,) places of images that were mixed in, but for those that have a role."""
        return self.but(places[self.roles_of(places) == Role.NEW], Role.MIXED_IN)


NOTHING_SEEN = Seen(np.zeros(0, np.int64), np.zeros(0, np.int64))


def read_seen(folder: ModelFolder) -> Seen | None:
    """What a model folder tells of the images that its model has seen; None where it tells nothing.

    The file holds 8 bytes for each, `place * len(Role) + role` in ascending order, and 8 of their checksum.

    Raises:
      CheckpointError: what it tells is damaged.
    """
    path = folder.file(SEEN)
    try:
        data = files.read_plain(path, MAX_BYTES)
        values = np.frombuffer(data, "<i8").astype(np.int64)
        if not len(values) or values[-1] != masked_crc32c(data[:-8]):
            raise ValueError("it is cut off, or not what its checksum says")
        values = values[:-1]
        places, roles = values // len(Role), values % len(Role)
        if (np.diff(places) <= 0).any() or (roles > max(Role)).any():
            raise ValueError("it is not in order")
        return Seen(places, roles)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        reason = f"is damaged ({files.one_line(error)}). Restore it, or remove it: then scores may be too good."
        raise CheckpointError(path, reason) from None


def seen_by_reader(folder: ModelFolder) -> Seen:
    """What the weights that a model folder reads with have seen, as far as it tells.

    Raises:
      CheckpointError: as `read_seen`, and `ModelFolder.best`.
    """
    has_closed = (folder.best() or {}).get("closed")
    return (read_seen(folder) or NOTHING_SEEN).closed(Role.LEARNT if has_closed else Role.HELD_OUT)


def write_seen(folder: ModelFolder, seen: Seen) -> None:
    """Keep what the model has seen.

    Raises:
      TrainingError: the disk is full or the folder cannot be written.
    """
    path = folder.file(SEEN)
    with files.writing(path, lambda reason: TrainingError(f"{path}: {reason}")):
        data = (seen.places * len(Role) + seen.roles).astype("<i8").tobytes()
        files.write(path, data + masked_crc32c(data).to_bytes(8, "little"))


class Split(NamedTuple):
    """Which images of a training set are trained on, and which are not.

    Attributes:
      held_out: (N,) bool, those that are not.
      seen: what the model will have seen.
      is_new: whether a training that goes on has other images than before to learn from or to validate on.
      num_known: images that the split would hold out, or that another set has for validation, and that the model has
        learnt from before.
    """

    held_out: np.ndarray
    seen: Seen
    is_new: bool
    num_known: int


def own_split(summary: Summary, before: Seen | None, goes_on: bool) -> Split:
    """Split a training set that has no other to validate on: of what has been learnt from nothing is held out.

    Args:
      summary: of the set.
      before: what the model has seen; None: that is not known.
      goes_on: whether the training goes on; as long as it has the same images its split stays.
    """
    places, ruled = summary.split_keys, validation_mask(summary.split_keys)
    apart = Role.CLOSING if is_small(len(places)) else Role.HELD_OUT
    if before is None:
        before = NOTHING_SEEN.but(places, np.where(ruled, apart, Role.LEARNT)) if goes_on else NOTHING_SEEN
    stays = goes_on and not np.isin(before.roles_of(places), (Role.NEW, Role.VALIDATION, Role.MIXED_IN)).any()
    stays = stays and (apart is Role.CLOSING or not (before.roles_of(places) == Role.CLOSING).any())
    is_known = (before if stays else before.closed()).is_known(places)
    held_out = ~is_known if stays else ruled & ~is_known
    too_few = not stays and held_out.sum() < min(MIN_HELD_OUT, ruled.sum())
    if too_few or not is_split(held_out):
        held_out = np.zeros_like(ruled)
    num_known = int((ruled & is_known).sum()) if is_split(ruled) else 0
    seen = before.closed().but(places, np.where(held_out, apart, Role.LEARNT))
    return Split(held_out, seen, goes_on and not stays, num_known)


def split_from(summary: Summary, validation: Summary, before: Seen | None, goes_on: bool) -> Split:
    """Keep a training set apart from the one that is validated on: what both have is not trained on.

    Args:
      summary: of the training set.
      validation: of the other.
      before, goes_on: as of `own_split`.
    """
    if before is None and goes_on:
        before = NOTHING_SEEN.but(summary.split_keys, Role.LEARNT).but(validation.split_keys, Role.VALIDATION)
    before = (before or NOTHING_SEEN).closed()
    roles, held_out = before.roles_of(validation.split_keys), np.isin(summary.split_keys, validation.split_keys)
    is_new = (roles == Role.NEW).any() or (before.roles_of(summary.split_keys[~held_out]) != Role.LEARNT).any()
    seen = before.but(summary.split_keys[~held_out], Role.LEARNT)
    is_known = np.isin(roles, KNOWN)
    seen = seen.but(validation.split_keys[~is_known], Role.VALIDATION)
    return Split(held_out, seen, goes_on and bool(is_new), int(is_known.sum()))
