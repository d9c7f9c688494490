"""Signs of labels that are not what the images show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

MIN_LABELS = 3
"""Labels of which more than half must be in curly quotes to be doubtful."""
_MISSING = ("nan", "NaN", "#N/A")
_QUOTED = re.compile("[“”„‘’‚«»].*[“”‘’«»]", re.DOTALL)


def _misread(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Return the labels that are UTF-8 read as code page 1252, each with the text it was."""
    pairs = []
    for label in labels:
        with suppress(UnicodeError):
            if not label.isascii():
                pairs.append((label, label.encode("cp1252").decode("utf-8")))
    return pairs


def doubts(labels: Sequence[str]) -> list[str]:
    """Describe what is doubtful in the labels of a dataset, one message for each kind."""
    messages = []
    quoted = sum(bool(_QUOTED.fullmatch(label)) for label in labels)
    if quoted >= MIN_LABELS and quoted * 2 > len(labels):
        messages.append(
            f"{quoted} of {len(labels)} labels are in curly quotes. Remove them if the images do not show them."
        )
    missing = [label for label in labels if label in _MISSING]
    if missing:
        names = ", ".join(map(repr, sorted(set(missing))))
        messages.append(f"{len(missing)} of {len(labels)} labels are {names}: missing values of a table?")
    misread = _misread(labels)
    if len(misread) > 1:
        label, text = misread[0]
        messages.append(
            f"{len(misread)} of {len(labels)} labels look like UTF-8 read as Windows code page 1252, for example "
            f"{label[:40]!r} for {text[:40]!r}. Save the labels as UTF-8 again."
        )
    return messages
