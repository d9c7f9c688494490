"""The three settings records: what fixes the network, how it is trained, and how it reads."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from aocr.errors import ConfigError
from aocr.text.charset import Charset

IMAGE_HEIGHT = 32
"""Height in pixels that limits taken from data are meant at."""
HEIGHTS = (32, 48, 64)
"""Heights in pixels that a network may bring every image to, ascending."""
COLUMN_PIXELS = 4
"""Pixels of the image so brought to its height that one memory column stands for, in both networks."""

LARGEST = {
    "max_width": 100_000,
    "max_height": 100_000,
    "max_prediction": 10_000,
    "attn_num_hidden": 8_192,
    "attn_num_layers": 64,
    "target_embedding_size": 8_192,
    "network_width": 100_000,
}
"""Limits of a network's settings: a model.json from elsewhere asks for no more."""

DRAWN = {"curves.png": "model.json", "attention.gif": "word.txt", "attention.png": "word.txt"}
"""Pictures that a training and `aocr test` draw, and what stands beside each: among images they are none."""

MAX_BATCH, MAX_BEAM = 65_536, 1_000
"""Images read or learnt together, and texts followed at a time, at the most: more is a slip, and memory runs out."""

MAX_SEED = 2**32
"""Seeds of numpy's random numbers are below it."""

MAX_EPOCHS = 1000
"""Passes over the training data at the most where no limit is typed."""

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
OPTIMIZERS = {"adamw": 2e-3, "adam": 2e-3, "adadelta": 1.0, "sgd": 0.05}
"""Optimizers by name, each with its learning rate where none is given."""


@dataclass(frozen=True)
class Arch:
    """All in which the networks differ. What is not told of one is as the default network has it.

    Attributes:
      defaults: settings of `ModelConfig` where none are given.
      batch_size: images a batch at the most, where its size is ours to choose.
      heights: heights in pixels that it can read at.
      min_layers: decoder layers at the least.
      follows_data: whether its height and its colour are taken from the data where none are given.
      resizes_bicubic: whether images are scaled as TensorFlow 1 does, and low ones that fit not at all; else
        antialiased and with their contrast stretched.
      fixed_width: whether every image is padded to the network's width; else only to the widest of its batch.
      pad_value: of a pixel beside an image in a batch to train on.
      residual_cnn: a residual CNN that holds padding at zero; else plain convolutions that do not know of it.
      ctc: a CTC head on the columns, which guides attention; padding is never attended to.
      wide_encoder: each direction of the encoder has the units of all decoder layers together, the attention twice as
        many; else those of one layer.
      forget_bias: the forget gates start open.
      shared_cells: all decoder layers share one set of weights.
      starts_from_encoder: the decoder's first state is the encoder's final forward one; else zero.
      free_symbols: reading may choose any symbol at every step; else never PAD or GO, and at the limit the end.
      spare_steps: steps of reading beyond the longest text.
    """

    defaults: Mapping[str, Any]
    batch_size: int = 32
    heights: tuple[int, ...] = HEIGHTS
    min_layers: int = 1
    follows_data: bool = True
    resizes_bicubic: bool = False
    fixed_width: bool = False
    pad_value: float = 0.0
    residual_cnn: bool = True
    ctc: bool = True
    wide_encoder: bool = False
    forget_bias: bool = True
    shared_cells: bool = False
    starts_from_encoder: bool = False
    free_symbols: bool = False
    spare_steps: int = 1


ARCHS = {
    "default": Arch(defaults={"attn_num_layers": 1, "target_embedding_size": 32}),
    "classic": Arch(  # in everything as aocr 0.7.6
        defaults={"attn_num_layers": 2, "target_embedding_size": 10},
        batch_size=65,
        heights=(32,),
        min_layers=2,
        follows_data=False,
        resizes_bicubic=True,
        fixed_width=True,
        pad_value=-1.0,
        residual_cnn=False,
        ctc=False,
        wide_encoder=True,
        forget_bias=False,
        shared_cells=True,
        starts_from_encoder=True,
        free_symbols=True,
        spare_steps=2,
    ),
}
"""The networks that can be trained, by the names that `--arch` and model.json have for them."""


def find_arch(name: str) -> Arch:
    """The record of an architecture.

    Raises:
      ConfigError: there is none of this name.
    """
    if name not in ARCHS:
        raise ConfigError("arch", name, f"must be one of {', '.join(ARCHS)}.")
    return ARCHS[name]


def width_at(height, image_width, image_height):
    """Width in pixels of an image brought to a height with its aspect kept: a whole number, not yet of a whole type.

    Args:
      height: in pixels.
      image_width, image_height: its size; two ints, numpy arrays or int32 tensors.
    """
    return -(-(image_width / image_height * height) // 1)  # rounded up, by operations that all three know


def _check_known(cls: type, values: dict[str, Any]) -> None:
    known = [f.name for f in fields(cls)]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."
            raise ConfigError(name, values[name], f"unknown setting. {hint}")


def _check_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(name, value, "must be a whole number of 1 or more.")


@dataclass(frozen=True)
class ModelConfig:
    """All that fixes the shape or the meaning of a network's tensors.

    Attributes:
      charset: the symbols it can read.
      arch: a name of `ARCHS`.
      channels: 1 reads grey, 3 reads colour.
      height: pixels that every image is brought to, one of the architecture's.
      max_width, max_height: in pixels; together they set the widest image: an image of this size fills the
        network, a wider one (by its aspect) is shrunk to fit.
      max_prediction: longest text in characters.
      attn_num_hidden: units of a decoder layer (U).
      attn_num_layers: decoder layers.
      target_embedding_size: width of a symbol's embedding.
      use_gru: GRU cells in the decoder in place of LSTM.
    """

    charset: Charset
    arch: str = "default"
    channels: int = 1
    height: int = IMAGE_HEIGHT
    max_width: int = 160
    max_height: int = 60
    max_prediction: int = 8
    attn_num_hidden: int = 128
    attn_num_layers: int = 1
    target_embedding_size: int = 32
    use_gru: bool = False

    def __post_init__(self):
        traits = self.traits
        _check_positive(self, "channels", "height")  # 1.0 and True equal 1
        if self.channels not in (1, 3):
            raise ConfigError("channels", self.channels, "must be 1 (grey) or 3 (colour).")
        if self.height not in traits.heights:
            allowed = " or ".join(map(str, traits.heights))
            raise ConfigError("height", self.height, f"must be {allowed} ({self.arch} network).")
        _check_positive(
            self,
            *("max_width", "max_height", "max_prediction"),
            *("attn_num_hidden", "attn_num_layers", "target_embedding_size"),
        )
        if self.attn_num_layers < traits.min_layers:
            reason = f"the {self.arch} network needs {traits.min_layers} or more (as aocr 0.7.6 did)."
            raise ConfigError("attn_num_layers", self.attn_num_layers, reason)
        for name, most in LARGEST.items():
            if (value := getattr(self, name)) > most:
                raise ConfigError(name, value, f"must be at most {most:,} (a limit of aocr).")

    @property
    def traits(self) -> Arch:
        """In what its architecture differs from others."""
        return find_arch(self.arch)

    @property
    def network_width(self) -> int:
        """W: the widest image in pixels at the network's height."""
        return int(width_at(self.height, self.max_width, self.max_height))

    @property
    def max_steps(self) -> int:
        """Steps of reading at the most, the end of the text counted."""
        return self.max_prediction + self.traits.spare_steps

    @property
    def state_size(self) -> int:
        """Width of the decoder's flat state: [c1 h1 c2 h2 ...] of LSTM, [h1 h2 ...] of GRU."""
        return self.attn_num_hidden * self.attn_num_layers * (1 if self.use_gru else 2)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for model.json; the charset as its string of symbols."""
        return {**asdict(self), "charset": self.charset.symbols}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`.

        Raises:
          ConfigError: a name is unknown, the charset is missing, or a value is impossible.
        """
        if not isinstance(values, dict):
            raise ConfigError("model", values, "must be an object with the network's settings.")
        _check_known(cls, values)
        if not isinstance(values.get("charset"), str):
            raise ConfigError("charset", values.get("charset"), "must be the string of all symbols.")
        return cls(**{**values, "charset": Charset(values["charset"])})


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained. All of it may change when a training is resumed.

    Attributes:
      batch_size: images a step, over all devices together; None: by the data.
      num_epoch: passes over the training data at the most, counted over all calls; None: `MAX_EPOCHS`.
      max_time: training time in seconds at the most, counted over all calls; None: no limit.
      patience: how many validations in a row without a better result end the search, twice as many while the CER
        stays above 80 %, half as many once it is 0; the learning rate then decays to zero and training ends.
      steps_per_checkpoint: steps between two checkpoints, and between two validations.
      optimizer: a name of `OPTIMIZERS`.
      initial_learning_rate: after warm-up; None: the optimizer's own.
      max_gradient_norm: global norm that gradients are clipped to.
      clip_gradients: whether they are clipped at all.
      augment: whether training images are varied.
      augment_strength: how much; 1 is usual.
      precision: a name of `PRECISIONS`.
      seed: fixes first weights, the order of the data, augmentation and dropout.
      deterministic: whether operations on a GPU, too, give the same result to the bit each time, as on a CPU.
    """

    batch_size: int | None = None
    num_epoch: int | None = None
    max_time: float | None = None
    patience: int = 10
    steps_per_checkpoint: int = 100
    optimizer: str = "adamw"
    initial_learning_rate: float | None = None
    max_gradient_norm: float = 5.0
    clip_gradients: bool = True
    augment: bool = True
    augment_strength: float = 1.0
    precision: str = "auto"
    seed: int = 0
    deterministic: bool = False

    def __post_init__(self):
        given = [name for name in ("batch_size", "num_epoch") if getattr(self, name) is not None]
        _check_positive(self, *given, "patience", "steps_per_checkpoint")
        if (self.batch_size or 0) > MAX_BATCH:
            raise ConfigError("batch_size", self.batch_size, f"must be {MAX_BATCH:,} at the most.")
        if not isinstance(self.seed, int) or not 0 <= self.seed < MAX_SEED:
            raise ConfigError("seed", self.seed, f"must be a whole number from 0 to {MAX_SEED - 1:,}.")
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError("optimizer", self.optimizer, f"must be one of {', '.join(OPTIMIZERS)}.")
        if self.precision not in PRECISIONS:
            raise ConfigError("precision", self.precision, f"must be one of {', '.join(PRECISIONS)}.")
        for name in ("initial_learning_rate", "max_gradient_norm", "max_time", "augment_strength"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(name, value, "must be a number above 0.")

    @property
    def max_epochs(self) -> int:
        """The limit of epochs in force."""
        return MAX_EPOCHS if self.num_epoch is None else self.num_epoch

    @property
    def learning_rate(self) -> float:
        """The learning rate in force after warm-up."""
        return self.initial_learning_rate or OPTIMIZERS[self.optimizer]


@dataclass(frozen=True)
class ReadConfig:
    """How a trained model reads.

    Attributes:
      beam: texts followed at a time; 1 is greedy.
      alternatives: other readings told beside the best; the beam is made wide enough.
      pattern: regular expression that the whole text must match; None: any text.
      lexicon: the texts to expect: a file, one a line, or a tuple; None: any.
      lexicon_weight: what a text outside the lexicon costs, in nats: it must be exp(lexicon_weight) times
        likelier; None: only texts of the lexicon are read.
    """

    beam: int = 1
    alternatives: int = 0
    pattern: str | None = None
    lexicon: str | tuple[str, ...] | None = None
    lexicon_weight: float | None = None

    def __post_init__(self):
        _check_positive(self, "beam")
        if not isinstance(self.alternatives, int) or self.alternatives < 0:
            raise ConfigError("alternatives", self.alternatives, "must be a whole number of 0 or more.")
        if self.width >= MAX_BEAM:
            name = "beam" if self.width == self.beam else "alternatives"
            raise ConfigError(name, getattr(self, name), f"must be less than {MAX_BEAM:,}.")
        weight = self.lexicon_weight
        if weight is not None and not (math.isfinite(weight) and weight > 0):
            raise ConfigError("lexicon_weight", weight, "must be a number above 0.")
        if weight is not None and self.lexicon is None:
            raise ConfigError("lexicon_weight", weight, "there is no lexicon to weigh. Give --lexicon FILE too.")

    @property
    def width(self) -> int:
        """K: the beam in force."""
        return max(self.beam, self.alternatives + 1)
