"""The three settings records: the network, how it is trained, and how it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from aocr.errors import ConfigError
from aocr.text.charset import NAMES, Charset

IMAGE_HEIGHT = 32
"""Height in pixels at which `max_width` is measured if it is derived from the data."""
HEIGHTS = (32, 48, 64)
"""Heights in pixels that a network may scale its images to, ascending."""
LINE_HEIGHTS = {2: 64, 3: 96, 4: 128}
"""Maximum number of lines in an image -> height in pixels that the network scales it to."""
TURNS = {"none": 0, "left": 1, "right": -1}
"""Directions in which images are turned before they are read -> quarter turns counter-clockwise."""
BAND_PIXELS, BAND_STRIDE = 32, 16
"""Height of a band of the scaled image, and distance from the top of one to the next, in pixels."""
COLUMN_PIXELS = 4
"""Pixels of the scaled image per memory column, in every architecture."""

MAX_PIXELS, MAX_LENGTH = 100_000, 10_000
"""Upper limits of an image's width and height in pixels and of a text in characters. (Other sizes are limited by the
weights that they must match.)"""

OWN_IMAGES = {"curves.png": "model.json", "attention.gif": "word.txt", "attention.png": "word.txt"}
"""Images that aocr writes itself; ignored in a training folder if the named file lies beside them."""

MAX_BATCH, MAX_BEAM = 65_536, 1_000
"""Upper limits of the batch size and the beam width."""

ENGLISH, ENGLISH_BEAM, ENGLISH_WEIGHT = "english", 4, 3.5
"""Name of the lexicon in the package, and its minimum beam width and default `lexicon_weight`."""

MAX_SEED = 2**32
"""Seeds must be below this, a limit of numpy's."""

MAX_EPOCHS = 1000
"""Default limit of passes over the training data."""

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
OPTIMIZERS = {"adamw": 2e-3, "adam": 2e-3, "adadelta": 1.0, "sgd": 0.05}
"""Optimizers by name, each with its default learning rate."""


@dataclass(frozen=True)
class Arch:
    """Everything that differs between architectures. Defaults describe the default network."""

    defaults: Mapping[str, Any]
    """Default settings of `ModelConfig`."""
    batch_size: int = 32
    """Largest batch size that is chosen automatically."""
    heights: tuple[int, ...] = HEIGHTS
    """Image heights in pixels that the network supports."""
    min_layers: int = 1
    """Minimum number of decoder layers."""
    follows_data: bool = True
    """Derive image height and colour from the data by default."""
    resizes_bicubic: bool = False
    """Resize with TF1's bicubic kernel, leaving small images unscaled; otherwise resize antialiased and normalise
    contrast."""
    fixed_width: bool = False
    """Pad every image to the network's width; otherwise to the widest image of its batch."""
    pad_value: float = 0.0
    """Value of padding pixels in a training batch."""
    residual_cnn: bool = True
    """Use a residual CNN that keeps padding at zero; otherwise plain convolutions that ignore padding."""
    ctc: bool = True
    """Add a CTC head on the columns, which guides attention; never attend to padding."""
    wide_encoder: bool = False
    """Give each direction of the encoder the units of all decoder layers together, and the attention twice as many;
    otherwise the units of one layer."""
    forget_bias: bool = True
    """Initialise the forget gates open."""
    shared_cells: bool = False
    """Share one set of weights among all decoder layers."""
    starts_from_encoder: bool = False
    """Start the decoder from the encoder's final forward state; otherwise from zero."""
    free_symbols: bool = False
    """Allow any symbol at every step; otherwise never PAD or GO, and force EOS at the length limit."""
    spare_steps: int = 1
    """Decoding steps beyond the longest text."""


ARCHS = {
    "default": Arch(defaults={"attn_num_layers": 1, "target_embedding_size": 32}),
    "classic": Arch(  # the network of aocr 0.7.6
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
"""Architectures by their names in `--arch` and model.json."""


def find_arch(name: str) -> Arch:
    """Return the record of an architecture.

    Raises:
      ConfigError: the name is unknown.
    """
    if name not in ARCHS:
        raise ConfigError("arch", name, f"must be one of {', '.join(ARCHS)}.")
    return ARCHS[name]


def band_size(height: int, bands: int) -> tuple[int, int]:
    """Return the height of a band, and the distance from the top of one to the next, in pixels of the scaled image."""
    return (height, height) if bands == 1 else (BAND_PIXELS, BAND_STRIDE)


def num_bands(height: int) -> int:
    """Return R, the number of bands that cover an image of a height in pixels."""
    return (height - BAND_PIXELS) // BAND_STRIDE + 1


def fields_in(record: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are named as fields of a dataclass."""
    return {field.name: values[field.name] for field in fields(record) if field.name in values}


def width_at(height, image_width, image_height):
    """Return the width in pixels of an image scaled to a height: a whole number, often of type float.

    Args:
      height: in pixels.
      image_width, image_height: its size; two ints, numpy arrays or int32 tensors.
    """
    return -(-(image_width / image_height * height) // 1)  # rounded up, by operations that all three types support


def _check_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(name, value, "must be a whole number of 1 or more.")


def _check_at_most(config: object, name: str, limit: int) -> None:
    value = getattr(config, name)
    if value > limit:
        raise ConfigError(name, value, f"must be at most {limit:,}.")


def _check_above_zero(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(name, value, "must be a number above 0.")


def _check_choice(config: object, name: str, choices: Mapping[str, Any] | tuple[str, ...]) -> None:
    value = getattr(config, name)
    if value not in choices:
        raise ConfigError(name, value, f"must be one of {', '.join(choices)}.")


CTC_WEIGHT = 0.5
"""Weight of the CTC head in reading with models that are trained now; see benchmarks/README.md."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the shape or the meaning of a network's tensors."""

    charset: Charset
    """Symbols that the network can read."""
    arch: str = "default"
    """Name of the architecture, a key of `ARCHS`."""
    channels: int = 1
    """1 for grey images, 3 for colour."""
    height: int = IMAGE_HEIGHT
    """Height in pixels that every image is scaled to, one of the architecture's."""
    bands: int = 1
    """Number of overlapping bands that an image is read in, from the top, for texts of several lines (R)."""
    turn: str = "none"
    """Direction in which images of upright text are turned by 90 degrees before they are scaled, a key of `TURNS`."""
    max_width: int = 160
    """Width in pixels of the widest image at `max_height`; images with a wider aspect are shrunk to fit."""
    max_height: int = 60
    """Height in pixels at which `max_width` is measured."""
    max_prediction: int = 8
    """Longest text in characters."""
    attn_num_hidden: int = 128
    """Units of a decoder layer (U)."""
    attn_num_layers: int = 1
    """Number of decoder layers."""
    target_embedding_size: int = 32
    """Size of a symbol's embedding."""
    use_gru: bool = False
    """Use GRU cells in the decoder instead of LSTM."""
    ctc_weight: float = 0.0
    """Weight of the CTC head in reading, where that of the decoder is 1; 0 to read with the decoder alone."""

    def __post_init__(self):
        traits = self.traits
        _check_positive(self, "channels", "height", "bands", "max_width", "max_height", "max_prediction")
        _check_positive(self, "attn_num_hidden", "attn_num_layers", "target_embedding_size")
        if self.channels not in (1, 3):
            raise ConfigError("channels", self.channels, "must be 1 (grey) or 3 (colour).")
        _check_choice(self, "turn", TURNS)
        if self.turn != "none" and not traits.residual_cnn:
            raise ConfigError("turn", self.turn, f"must be none for the {self.arch} network.")
        self._check_height()
        if self.attn_num_layers < traits.min_layers:
            reason = f"the {self.arch} network needs {traits.min_layers} or more (as aocr 0.7.6 did)."
            raise ConfigError("attn_num_layers", self.attn_num_layers, reason)
        _check_at_most(self, "max_width", MAX_PIXELS)
        _check_at_most(self, "max_height", MAX_PIXELS)
        _check_at_most(self, "network_width", MAX_PIXELS)
        _check_at_most(self, "max_prediction", MAX_LENGTH)
        if not isinstance(self.ctc_weight, (int, float)) or not 0 <= self.ctc_weight <= (10 if traits.ctc else 0):
            reason = "must be from 0 to 10." if traits.ctc else f"must be 0: the {self.arch} network has no CTC head."
            raise ConfigError("ctc_weight", self.ctc_weight, reason)

    def _check_height(self) -> None:
        heights = tuple(LINE_HEIGHTS.values()) if self.bands > 1 else self.traits.heights
        if self.bands > 1 and not self.traits.residual_cnn:
            raise ConfigError("bands", self.bands, f"must be 1: the {self.arch} network reads a single line.")
        if self.height not in heights:
            allowed = " or ".join(map(str, heights))
            network = f"{self.arch} network{', several lines' * (self.bands > 1)}"
            raise ConfigError("height", self.height, f"must be {allowed} ({network}).")
        if self.bands not in (1, num_bands(self.height)):
            reason = f"must be 1 or {num_bands(self.height)} at height {self.height}."
            raise ConfigError("bands", self.bands, reason)

    @property
    def traits(self) -> Arch:
        """The record of its architecture."""
        return find_arch(self.arch)

    @property
    def network_width(self) -> int:
        """W: width in pixels of the widest image at the network's height."""
        return int(width_at(self.height, self.max_width, self.max_height))

    @property
    def max_steps(self) -> int:
        """Maximum number of decoding steps, including EOS."""
        return self.max_prediction + self.traits.spare_steps

    @property
    def state_size(self) -> int:
        """Width of the decoder's flat state: [c1 h1 c2 h2 ...] of LSTM, [h1 h2 ...] of GRU."""
        return self.attn_num_hidden * self.attn_num_layers * (1 if self.use_gru else 2)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for model.json; the charset becomes its string of symbols."""
        return {**asdict(self), "charset": self.charset.symbols}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build a config from the values of `to_dict`.

        Raises:
          ConfigError: a name is unknown, the charset is missing, or a value is impossible.
        """
        if not isinstance(values, dict):
            raise ConfigError("model", values, "must be an object with the network's settings.")
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(name, values[name], f"unknown setting. Known: {', '.join(known)}.")
        if not isinstance(values.get("charset"), str):
            raise ConfigError("charset", values.get("charset"), "must be the string of all symbols.")
        return cls(**{**values, "charset": Charset(values["charset"])})


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained. Settings may change when a training is resumed."""

    batch_size: int | None = None
    """Images per step, over all devices together; None: derived from the data."""
    num_epoch: int | None = None
    """Maximum number of passes over the training data, resumed runs included; None: `MAX_EPOCHS`."""
    max_time: float | None = None
    """Maximum training time in seconds, resumed runs included; None: no limit."""
    patience: int = 10
    """Validations in a row without improvement before the learning rate decays to zero and training ends; twice as
    many while the CER is above 80 %, half as many once it is 0."""
    steps_per_checkpoint: int = 100
    """Steps between checkpoints, and between validations."""
    optimizer: str = "adamw"
    """Name of the optimizer, a key of `OPTIMIZERS`."""
    initial_learning_rate: float | None = None
    """Learning rate after warm-up; None: the optimizer's default."""
    max_gradient_norm: float = 5.0
    """Global norm that gradients are clipped to."""
    clip_gradients: bool = True
    """Clip gradients."""
    augment: bool = True
    """Augment training images at random."""
    augment_strength: float = 1.0
    """Strength of the augmentation; 1 is usual."""
    precision: str = "auto"
    """Arithmetic of the convolutions, one of `PRECISIONS`."""
    seed: int = 0
    """Random seed of the initial weights, the order of the data, augmentation and dropout."""
    deterministic: bool = False
    """Make operations on a GPU reproducible to the bit, as they always are on a CPU."""

    def __post_init__(self):
        optional = [name for name in ("batch_size", "num_epoch") if getattr(self, name) is not None]
        _check_positive(self, *optional, "patience", "steps_per_checkpoint")
        if self.batch_size is not None:
            _check_at_most(self, "batch_size", MAX_BATCH)
        if not isinstance(self.seed, int) or not 0 <= self.seed < MAX_SEED:
            raise ConfigError("seed", self.seed, f"must be a whole number from 0 to {MAX_SEED - 1:,}.")
        _check_choice(self, "optimizer", OPTIMIZERS)
        _check_choice(self, "precision", PRECISIONS)
        _check_above_zero(self, "initial_learning_rate", "max_gradient_norm", "max_time", "augment_strength")

    @property
    def max_epochs(self) -> int:
        """The limit of epochs actually used."""
        return MAX_EPOCHS if self.num_epoch is None else self.num_epoch

    @property
    def learning_rate(self) -> float:
        """The learning rate actually used after warm-up."""
        return self.initial_learning_rate or OPTIMIZERS[self.optimizer]


WHOLE_NAME = "(?s)(.+)"
"""`--label-from-filename` without a regular expression."""
PLAIN = "plain"
"""`--columns` for lines of `path label` that are read as they stand."""


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How labelled images are read; the same flags in every command."""

    data_base_dir: str | None = None
    """Folder to which image paths may be relative."""
    columns: str | None = None
    """Names or numbers of the columns of a table, `PATH,TEXT`; or `PLAIN`; None: by the content."""
    label_from_filename: str | None = None
    """Regular expression whose group is the label in a file name; None: file names are not labels."""
    empty_labels: bool = False
    """Keep images with an empty label even if there are many."""


DEFAULT_SOURCE = SourceOptions()
"""Sources are read by their content."""


@dataclass(frozen=True)
class ReadConfig:
    """How a trained model reads."""

    beam: int = 1
    """Beam width; 1 is greedy decoding."""
    alternatives: int = 0
    """Number of next-best readings to return; the beam is widened to fit them."""
    pattern: str | None = None
    """Regular expression that the whole text must match; None: any text."""
    lexicon: str | tuple[str, ...] | None = None
    """Expected texts: `english`, a file with one per line, or a tuple; frequencies may follow after a tab; None: any
    text."""
    lexicon_weight: float | None = None
    """Cost in nats of a text outside the lexicon: it must be exp(lexicon_weight) times as likely; None: such texts
    are never read, but with `english` they cost ENGLISH_WEIGHT."""
    symbols: str | None = None
    """Symbols to keep: a charset's name, or a file with them. Others are dropped from what is read; a letter whose
    other case is kept becomes that. None: all."""
    spaces: bool = True
    """Keep spaces in what is read."""

    def __post_init__(self):
        _check_positive(self, "beam")
        if not isinstance(self.alternatives, int) or self.alternatives < 0:
            raise ConfigError("alternatives", self.alternatives, "must be a whole number of 0 or more.")
        if self.width >= MAX_BEAM:
            name = "beam" if self.width == self.beam else "alternatives"
            raise ConfigError(name, getattr(self, name), f"must be less than {MAX_BEAM:,}.")
        _check_above_zero(self, "lexicon_weight")
        if self.lexicon_weight is not None and self.lexicon is None:
            raise ConfigError("lexicon_weight", self.lexicon_weight, "needs a lexicon. Give --lexicon FILE too.")

    @property
    def width(self) -> int:
        """K: the beam width actually used."""
        return max(self.beam, self.alternatives + 1, ENGLISH_BEAM if self.lexicon == ENGLISH else 1)

    @property
    def outside_cost(self) -> float | None:
        """The cost actually used of a text outside the lexicon."""
        return ENGLISH_WEIGHT if self.lexicon == ENGLISH and self.lexicon_weight is None else self.lexicon_weight


def typed_network(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given settings of the network, without its charset; None and `auto` count as not given."""
    typed = fields_in(ModelConfig, values)
    settings = {name: value for name, value in typed.items() if name != "charset" and value not in (None, "auto")}
    lines = str(values.get("lines", "auto"))
    if lines == "1":
        settings["bands"] = 1
    elif lines != "auto":
        if lines not in map(str, LINE_HEIGHTS):
            raise ConfigError("lines", lines, f"must be auto or a number from 1 to {max(LINE_HEIGHTS)}.")
        height = settings.setdefault("height", LINE_HEIGHTS[int(lines)])
        settings["bands"] = max(2, num_bands(height))
    return settings


def typed_charset(values: Mapping[str, Any]) -> str | None:
    """Return the name or file that `charset` or `full_ascii` gives."""
    return "full-ascii" if values.get("full_ascii") else values.get("charset")


def typed_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given settings of the network, and the charset unless it comes from the data.

    Raises:
      CharsetError, ConfigError: the charset cannot be read.
    """
    settings, charset = typed_network(values), typed_charset(values)
    if charset is not None and charset != "auto":
        settings["charset"] = Charset.from_name_or_file(charset)
    return settings


def check_typed(model_dir: str, config: ModelConfig, typed: dict[str, Any], advice: str = "") -> None:
    """Refuse flags that contradict a model folder.

    Args:
      model_dir: path of the folder, for the message.
      config: settings of the folder.
      typed: typed values by field of ModelConfig.
      advice: alternative to leaving the flag out, for the message.

    Raises:
      ConfigError: names the flag and both values.
    """
    for name, value in typed.items():
        model_value = getattr(config, name)
        if value != model_value:
            flag, value, model_value = _as_typed(name, value, model_value)
            raise ConfigError(flag, value, f"the model in {model_dir} has {model_value}. Leave the flag out{advice}.")


def _as_typed(name: str, value: Any, model_value: Any) -> tuple[str, Any, str]:
    """Return the flag of a setting, the typed value and the folder's value, as a user would write them."""
    if name == "bands":
        return "--lines", "1" if value == 1 else "2 or more", f"{model_value} bands of text"
    if name == "channels":
        return ("--color" if value == 3 else "--no-color"), True, "colour" if model_value == 3 else "grey"
    if name == "use_gru":
        return "--use-gru", value, "GRU cells" if model_value else "LSTM cells"
    if name == "charset":
        flag = ("--full-ascii", True) if value.symbols == NAMES["full-ascii"] else ("--charset", value.symbols)
        return *flag, repr(model_value.symbols)
    return f"--{name.replace('_', '-')}", value, repr(model_value)
