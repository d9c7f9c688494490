"""The learning rate: warm-up, a plateau, and a fall to zero once the search is over.

The plateau needs no horizon: it lasts until validation stops improving or the budget is nearly spent. The
fall takes a fixed share of the steps done so far (warmup-stable-decay, Hu et al., 2024, "MiniCPM").
"""

from __future__ import annotations

WARMUP_STEPS = 100
FALL_SHARE = 0.1
"""Steps of the fall as a share of the steps before it."""


def factor(step: int, fall_start: int, fall_end: int) -> float:
    """Share of the full learning rate at a step.

    Args:
      step: number of steps done.
      fall_start: step at which the fall began; negative: it has not.
      fall_end: step at which the rate reaches zero.
    """
    rate = min(1.0, (step + 1) / WARMUP_STEPS)
    if fall_start >= 0:
        rate *= max(0.0, (fall_end - step) / max(1, fall_end - fall_start))
    return rate


def fall_length(step: int) -> int:
    """Steps a fall takes that begins after `step` steps."""
    return max(1, round(step * FALL_SHARE))
