"""Counters and histograms of a server, in Prometheus's text format."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

SIZE_EDGES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Upper edges of the batch size buckets."""
SECONDS_EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of the time buckets."""


class Histogram:
    """Counts values in buckets, which are given by their upper edges in ascending order."""

    def __init__(self, edges: Sequence[float]):
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._edges, value)] += 1
        self._sum += value

    def lines(self, name: str, label: str = "") -> list[str]:
        """Return the samples: cumulative buckets, sum and count. `label` is written as it is, e.g. `stage="read"`."""
        lines = []
        total = 0
        for edge, count in zip((*self._edges, "+Inf"), self._counts, strict=True):
            total += count
            labels = ",".join(filter(None, (label, f'le="{edge}"')))
            lines.append(f"{name}_bucket{{{labels}}} {total}")
        braces = f"{{{label}}}" if label else ""
        return [*lines, f"{name}_sum{braces} {self._sum:.10g}", f"{name}_count{braces} {total}"]


class Metrics:
    """The metrics of `aocr serve`."""

    def __init__(self):
        self.requests: Counter[tuple[str, int]] = Counter()  # by route and status
        self.images: Counter[str] = Counter()  # by result: read or refused
        self.batch_sizes = Histogram(SIZE_EDGES)
        self.seconds: dict[str, Histogram] = defaultdict(lambda: Histogram(SECONDS_EDGES))  # by stage

    def text(self) -> str:
        """Return all metrics in Prometheus's text format."""
        name = "aocr_requests_total"
        lines = _header(name, "counter", "Requests answered.")
        for (route, status), count in sorted(self.requests.items()):
            lines.append(f'{name}{{route="{route}",status="{status}"}} {count}')
        name = "aocr_images_total"
        lines += _header(name, "counter", "Images received, by result: read or refused.")
        lines += [f'{name}{{result="{result}"}} {count}' for result, count in sorted(self.images.items())]
        name = "aocr_batch_size"
        lines += [*_header(name, "histogram", "Images read together."), *self.batch_sizes.lines(name)]
        name = "aocr_stage_seconds"
        lines += _header(name, "histogram", "Seconds of each stage: check images, wait for a batch, read it.")
        for stage, histogram in sorted(self.seconds.items()):
            lines += histogram.lines(name, f'stage="{stage}"')
        return "\n".join(lines) + "\n"


def _header(name: str, kind: str, help: str) -> list[str]:
    return [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
