"""numpy functions under the names of `keras.ops`, for `aocr.text.search`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def __getattr__(name: str) -> Any:
    return getattr(np, name)  # most functions have the same name in numpy


def cast(x, dtype) -> np.ndarray:
    """Do what `keras.ops.cast` does."""
    return np.asarray(x).astype(dtype)


def convert_to_tensor(x, dtype=None) -> np.ndarray:
    """Do what `keras.ops.convert_to_tensor` does."""
    return np.asarray(x, dtype)


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Do what `keras.ops.log_softmax` does."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def top_k(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Do what `keras.ops.top_k` does."""
    indices = x.argmax(axis=-1, keepdims=True) if k == 1 else np.argsort(-x, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(x, indices, axis=-1), indices


def where(condition, x, y) -> np.ndarray:
    """Do what `keras.ops.where` does: a Python float counts as float32."""
    x, y = (np.float32(value) if isinstance(value, float) else value for value in (x, y))
    return np.where(condition, x, y)


def collect_steps(step: Callable, state: tuple, max_steps: int, go_on: Callable = lambda state: True) -> tuple:
    """Do what `aocr.model.layers.collect_steps` does."""
    outputs = []
    for i in range(max_steps):
        if i and not go_on(state):
            break
        output, state = step(i, state)
        outputs.append(output)
    return tuple(np.stack(parts) for parts in zip(*outputs, strict=True)), state
