"""What a server counts, in Prometheus's text format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Upper edges of the classes of batch sizes."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of the classes of times."""


class Counter:
    """Counts up, apart for each combination of labels.

    Args:
      name: in the text; ends in `_total`.
      help: one sentence.
      labels: names.
    """

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()):
        self.name, self.help, self._labels = name, help, tuple(labels)
        self._counts: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str, count: float = 1) -> None:
        """Count; labels in the order of their names."""
        self._counts[labels] = self._counts.get(labels, 0) + count

    def lines(self) -> list[str]:
        """Its samples."""
        return [_sample(self.name, self._labels, labels, count) for labels, count in sorted(self._counts.items())]


class Histogram:
    """Counts values by size, apart for each label.

    Args:
      name: in the text.
      help: one sentence.
      edges: upper edges of the classes, ascending.
      label: name of the one label; empty: none.
    """

    kind = "histogram"

    def __init__(self, name: str, help: str, edges: Sequence[float], label: str = ""):
        self.name, self.help, self._edges, self._label = name, help, tuple(edges), label
        self._classes: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: float, label: str = "") -> None:
        """Count a value."""
        classes = self._classes.setdefault(label, [0] * (len(self._edges) + 1))
        classes[bisect_left(self._edges, value)] += 1
        self._sums[label] = self._sums.get(label, 0.0) + value

    def lines(self) -> list[str]:
        """Its samples: cumulative classes, sum and count."""
        lines = []
        names = (self._label,) if self._label else ()
        for label, classes in sorted(self._classes.items()):
            labels, total = (label,) if self._label else (), 0
            for edge, count in zip((*self._edges, "+Inf"), classes, strict=True):
                total += count
                lines.append(_sample(f"{self.name}_bucket", (*names, "le"), (*labels, str(edge)), total))
            lines.append(_sample(f"{self.name}_sum", names, labels, self._sums[label]))
            lines.append(_sample(f"{self.name}_count", names, labels, total))
        return lines


def _sample(name: str, names: Sequence[str], values: Sequence[str], number: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in zip(names, values, strict=True))
    return f"{name}{{{pairs}}} {number:.10g}" if pairs else f"{name} {number:.10g}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Metrics:
    """All that `aocr serve` counts.

    Attributes:
      requests: answers by route and status.
      images: by what became of them: `read` or `refused`.
      batches: images of each batch.
      seconds: of the stages: `check` a request's images, `wait` for the batch, `read` it.
    """

    def __init__(self):
        self.requests = Counter("aocr_requests_total", "Requests answered.", ("route", "status"))
        self.images = Counter("aocr_images_total", "Images that came.", ("result",))
        self.batches = Histogram("aocr_batch_size", "Images read together.", SIZES)
        self.seconds = Histogram("aocr_stage_seconds", "Time of each stage in seconds.", SECONDS, "stage")

    def text(self) -> str:
        """All of it as Prometheus reads it."""
        parts = []
        for metric in (self.requests, self.images, self.batches, self.seconds):
            parts += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        return "\n".join(parts) + "\n"
