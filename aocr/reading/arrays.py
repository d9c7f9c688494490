"""Functions of numpy's arrays under the names of `keras.ops`, for `aocr.text.search`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def __getattr__(name: str) -> Any:
    return getattr(np, name)  # most have the same name there


def cast(x, dtype) -> np.ndarray:
    """As `keras.ops.cast`."""
    return np.asarray(x).astype(dtype)


def convert_to_tensor(x, dtype=None) -> np.ndarray:
    """As `keras.ops.convert_to_tensor`."""
    return np.asarray(x, dtype)


def log_softmax(x: np.ndarray) -> np.ndarray:
    """As `keras.ops.log_softmax`."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def top_k(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `keras.ops.top_k`."""
    best = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(x, best, axis=-1), best


def where(condition, x, y) -> np.ndarray:
    """As `keras.ops.where`: a number with a point is a float32."""
    x, y = (np.float32(value) if isinstance(value, float) else value for value in (x, y))
    return np.where(condition, x, y)


def collect_steps(step: Callable, state: tuple, max_steps: int, go_on: Callable = lambda state: True) -> tuple:
    """As `aocr.model.layers.collect_steps`."""
    outputs = []
    for i in range(max_steps):
        if i and not go_on(state):
            break
        output, state = step(i, state)
        outputs.append(output)
    return tuple(np.stack(parts) for parts in zip(*outputs, strict=True)), state
