"""The arguments of `aocr train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aocr.config import ModelConfig, SourceOptions, TrainConfig
from aocr.folder.model_folder import ModelFolder
from aocr.folder.words import BOX, NAME, open_folder

NOTHING = "none"
"""Value of `--init-from` that means random weights."""


@dataclass(frozen=True)
class TrainRequest(SourceOptions):
    """The arguments of `aocr train`."""

    datasets: Sequence[str]
    """Images to train on: TFRecords, annotation files or folders."""
    validation: Sequence[str] = ()
    """Images to validate on; empty: a part of `datasets`, if it is large enough."""
    model_dir: str = "checkpoints"
    """The model folder."""
    typed: dict[str, Any] = field(default_factory=dict)
    """Fields of ModelConfig that the user typed."""
    config: TrainConfig = field(default_factory=TrainConfig)
    """How to train."""
    resume: bool = True
    """Whether to resume the training in the folder."""
    init_from: str | None = None
    """Model folder to start from; `NOTHING`: random weights; None: `words`, if the architecture is the same."""
    charset_policy: str = "union"
    """`fail`, `union` or `new`: what to do if a typed `init_from` has another charset."""
    target_vocab_size: int | None = None
    """Largest vocabulary allowed, special symbols included; None: any."""
    use_distance: bool = True
    """Whether the score of aocr 0.7.6 is based on edit distance; if not, it counts whole words."""
    look_alikes: int | None = None
    """Number of synthetic images that imitate those of `datasets`; None: chosen from the data."""
    unlabeled: Sequence[str] = ()
    """Unlabelled images to train on too."""
    exclude: Sequence[str] = ()
    """Images to leave out of `unlabeled`."""
    output_dir: str | None = None
    """Folder for a report of the validation set; None: no report."""
    devices: str | None = None
    """`all`, a number of devices, or their indices separated by commas; None: one."""

    def start_folder(self, config: ModelConfig) -> tuple[ModelFolder, str] | None:
        """Return the model folder whose weights a new network starts from, and its name; None: random weights."""
        if self.init_from is None:
            return (ModelFolder(BOX), NAME) if config.traits.follows_data else None
        return None if self.init_from == NOTHING else (open_folder(self.init_from), self.init_from)
