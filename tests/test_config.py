"""The two settings records: what is refused, what is kept, what follows from what."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import pytest

from aocr import config
from aocr.config import ModelConfig, TrainConfig
from aocr.errors import ConfigError
from aocr.text.charset import Charset

CHARSET = Charset("0123456789")


def test_a_model_config_survives_json():
    for settings in (
        {},
        {"arch": "classic", "attn_num_layers": 2, "target_embedding_size": 10, "use_gru": True},
        {"channels": 3, "max_width": 3000, "max_height": 64, "max_prediction": 140, "attn_num_hidden": 7},
    ):
        written = ModelConfig(Charset("aé😀 \\\"'"), **settings)
        assert ModelConfig.from_dict(json.loads(json.dumps(written.to_dict()))) == written


def test_to_dict_names_every_field():
    assert list(ModelConfig(CHARSET).to_dict()) == [field.name for field in dataclasses.fields(ModelConfig)]


def test_from_dict_fills_in_what_is_not_said():
    assert ModelConfig.from_dict({"charset": "ab"}) == ModelConfig(Charset("ab"))


@pytest.mark.parametrize(
    ("name", "hint"), [("max_widht", "Did you mean 'max_width'?"), ("qqqqqq", "Known: charset, arch")]
)
def test_an_unknown_setting_is_refused_with_a_hint(name, hint):
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict({"charset": "ab", name: 1})
    assert caught.value.field == name and hint in str(caught.value)


@pytest.mark.parametrize("values", [{}, {"charset": None}, {"charset": ["a", "b"]}, {"charset": 5}])
def test_a_model_needs_a_charset(values):
    with pytest.raises(ConfigError, match="charset"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    "name", ["max_width", "max_height", "max_prediction", "attn_num_hidden", "attn_num_layers", "target_embedding_size"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, "8", None, True])
def test_sizes_are_whole_numbers_from_1(name, value):
    with pytest.raises(ConfigError, match=name) as caught:
        ModelConfig(CHARSET, **{name: value})
    assert caught.value.field == name and caught.value.value == value


@pytest.mark.parametrize(
    "settings",
    [
        {"arch": "big"},
        {"arch": ""},
        {"channels": 2},
        {"channels": 4},
        {"height": 40},
        {"height": 48, "arch": "classic"},
    ],
)
def test_unknown_choices(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ModelConfig(CHARSET, **settings)


def test_the_classic_network_has_two_decoder_layers_or_more():
    with pytest.raises(ConfigError, match="2 or more"):
        ModelConfig(CHARSET, arch="classic", attn_num_layers=1)
    for name, arch in config.ARCHS.items():
        assert ModelConfig(CHARSET, arch=name, **arch.defaults).arch == name


@pytest.mark.parametrize(
    ("width", "height", "wide"), [(160, 60, 86), (160, 32, 160), (100, 100, 32), (1, 3000, 1), (3000, 64, 1500)]
)
def test_network_width(width, height, wide):
    assert ModelConfig(CHARSET, max_width=width, max_height=height).network_width == wide
    higher = ModelConfig(CHARSET, max_width=width, max_height=height, height=64).network_width
    assert 2 * wide - 1 <= higher <= 2 * wide


def test_records_are_frozen():
    for record, name in ((ModelConfig(CHARSET), "max_width"), (TrainConfig(), "seed")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, 1)


# Training


def test_the_learning_rate_is_the_optimizers_unless_said():
    for name, rate in config.OPTIMIZERS.items():
        assert TrainConfig(optimizer=name).learning_rate == rate
        assert TrainConfig(optimizer=name, initial_learning_rate=0.5).learning_rate == 0.5


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0])
def test_a_seed_that_numpy_does_not_take_is_told(seed):
    with pytest.raises(ConfigError, match=r"seed.*from 0 to 4,294,967,295"):
        TrainConfig(seed=seed)
    assert TrainConfig(seed=2**32 - 1).seed == 2**32 - 1


@pytest.mark.parametrize("name", ["batch_size", "num_epoch", "patience", "steps_per_checkpoint"])
@pytest.mark.parametrize("value", [0, -5, 2.5, None, True])
def test_counts_are_whole_numbers_from_1(name, value):
    if value is None and name in ("batch_size", "num_epoch"):
        assert TrainConfig(**{name: value}).max_epochs == config.MAX_EPOCHS
        return
    with pytest.raises(ConfigError, match=name):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("name", ["initial_learning_rate", "max_gradient_norm", "max_time"])
@pytest.mark.parametrize("value", [0, 0.0, -1.0, float("nan"), float("inf")])
def test_rates_are_finite_and_above_0(name, value):
    with pytest.raises(ConfigError, match=name):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("settings", [{"optimizer": "adamx"}, {"precision": "int8"}])
def test_unknown_training_choices_name_the_known(settings):
    with pytest.raises(ConfigError, match=r"must be one of .*, ") as caught:
        TrainConfig(**settings)
    assert {caught.value.field: caught.value.value} == settings


def test_every_known_choice_is_taken():
    for name in config.OPTIMIZERS:
        TrainConfig(optimizer=name)
    for name in config.PRECISIONS:
        TrainConfig(precision=name)


def test_every_setting_is_explained():
    for cls in (ModelConfig, TrainConfig):
        for field in dataclasses.fields(cls):
            assert field.name in cls.__doc__.split("Attributes:")[1]


def test_the_classic_network_is_named_where_it_is_described_and_nowhere_else():
    package = Path(config.__file__).parent
    naming = set()
    for path in package.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        if any(isinstance(node, ast.Constant) and node.value == "classic" for node in nodes):
            naming.add(path.relative_to(package).as_posix())
    assert naming == {"config.py", "exchange/aocr_0_7_6.py"}
