"""TF_CONFIG: the environment variable that describes a cluster and this process's task in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from aocr.errors import ConfigError


@dataclass(frozen=True)
class Task:
    """This process's task in a cluster."""

    addresses: tuple[str, ...]
    """host:port of every worker, the chief first."""
    index: int
    """Index of this worker, 0 for the chief; -1: a process without work (a parameter server or evaluator)."""


def task_from(text: str | None) -> Task | None:
    """Parse a TF_CONFIG value; return None if it describes no cluster.

    Roles: `chief` (ML Engine's `master`) and `worker` train; `ps` and `evaluator` have nothing to do.

    Raises:
      ConfigError: the value is damaged.
    """
    if not text or not text.strip():
        return None
    try:
        value = json.loads(text)
        cluster, task = value.get("cluster") or {}, value.get("task") or {}
        chiefs = _addresses(cluster.get("chief") or cluster.get("master"))
        workers = _addresses(cluster.get("worker"))
        role, number = task.get("type"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ConfigError("TF_CONFIG", text, "must be a JSON object with `cluster` and `task`.") from None
    if not chiefs and not workers:
        return None
    if role in ("ps", "evaluator"):
        return Task((*chiefs, *workers), -1)
    names = {"chief": chiefs, "master": chiefs, "worker": workers}.get(str(role))
    if names is None or not 0 <= number < len(names):
        raise ConfigError("TF_CONFIG", text, f"task {role!r} {number} is not in the cluster.")
    return Task((*chiefs, *workers), number + (len(chiefs) if names is workers else 0))


def _addresses(value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(address, str) for address in value):
        raise TypeError("addresses must be a list of host:port")
    return value


def current_task() -> Task | None:
    """Return the task in this process's environment; None if it trains alone.

    Raises:
      ConfigError: TF_CONFIG is damaged.
    """
    task = task_from(os.environ.get("TF_CONFIG"))
    return None if task and task.index == 0 and len(task.addresses) == 1 else task
