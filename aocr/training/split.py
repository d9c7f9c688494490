"""Split a training set into images to train on and images to validate on.

A model is never validated on an image that it was trained on: the model folder records the digests of its training
images (`learnt.npy`), and a model that starts from another one inherits that record.
"""

from __future__ import annotations

import hashlib
import logging
from typing import NamedTuple

import numpy as np

from aocr.data.automatic import MIN_HELD_OUT, is_split
from aocr.data.datasets import Summary
from aocr.folder.model_folder import LEARNT, ModelFolder
from aocr.folder.words import BOX

log = logging.getLogger("aocr")


class Split(NamedTuple):
    """The split of a training set of N images."""

    held_out: np.ndarray
    """(N,) bool, the images not to train on."""
    num_seen: int
    """Number of validation images, or candidates for them, that the model was trained on before."""


def learnt_images(folder: ModelFolder | None) -> np.ndarray:
    """Return digests, (N,) int64, of the images a model was trained on; none for `words` and random weights.

    Raises:
      CheckpointError: the folder's record is damaged.
    """
    digests = folder.read_learnt() if folder else None
    if digests is None and folder and folder.path != str(BOX):
        log.warning("%s does not record its training images (%s), so scores on them may be too good.", folder, LEARNT)
    return np.zeros(0, np.int64) if digests is None else digests


def split_images(summary: Summary, validation: Summary | None, learnt: np.ndarray) -> Split:
    """Split a training set.

    Args:
      summary: summary of the training set.
      validation: summary of a separate validation set; None: part of the training set is used.
      learnt: (M,) int64 digests of images that the model was trained on.
    """
    if validation:
        num_seen = int(np.isin(validation.split_keys, learnt).sum())
        return Split(np.isin(summary.split_keys, validation.split_keys), num_seen)
    is_seen = np.isin(summary.split_keys, learnt)
    held_out = summary.held_out & ~is_seen
    if held_out.sum() < min(MIN_HELD_OUT, summary.held_out.sum()) or not is_split(held_out):
        held_out = np.zeros_like(held_out)
    return Split(held_out, int((summary.held_out & is_seen).sum()) if is_split(summary.held_out) else 0)


def images_digest(summary: Summary, validation: Summary | None) -> str:
    """Return a digest of all training and validation images, independent of their order."""
    keys = np.unique(summary.split_keys).tobytes()
    if validation:
        keys += b"validation" + np.unique(validation.split_keys).tobytes()
    return hashlib.blake2b(keys, digest_size=16).hexdigest()
