"""The settings records: validation, JSON, derived values, documentation of fields."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import pytest

from aocr import config, results
from aocr.config import ModelConfig, ReadConfig, TrainConfig
from aocr.errors import ConfigError
from aocr.text.charset import Charset

CHARSET = Charset("0123456789")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"arch": "classic", "attn_num_layers": 2, "target_embedding_size": 10, "use_gru": True},
        {"channels": 3, "max_width": 3000, "max_height": 64, "max_prediction": 140, "attn_num_hidden": 7},
    ],
)
def test_model_config_survives_json(settings):
    model = ModelConfig(Charset("aé😀 \\\"'"), **settings)
    values = model.to_dict()
    assert list(values) == [field.name for field in dataclasses.fields(ModelConfig)]
    assert ModelConfig.from_dict(json.loads(json.dumps(values))) == model


def test_missing_settings_get_their_defaults():
    assert ModelConfig.from_dict({"charset": "ab"}) == ModelConfig(Charset("ab"))


def test_unknown_setting():
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict({"charset": "ab", "max_widht": 1})
    assert caught.value.field == "max_widht"


@pytest.mark.parametrize("values", [{}, {"charset": None}, {"charset": ["a", "b"]}])
def test_charset_is_required(values):
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(values)
    assert caught.value.field == "charset"


def invalid(record, name, *values, **others):
    """Cases of one setting that must be refused."""
    return [(record, {name: value, **others}, name) for value in values]


WHOLE = (0, -1, 1.5, "8", None, True)
ABOVE_ZERO = (0, -1.0, float("nan"), float("inf"))


@pytest.mark.parametrize(
    ("record", "settings", "field"),
    [
        *invalid(ModelConfig, "max_width", *WHOLE),
        *invalid(ModelConfig, "attn_num_hidden", *WHOLE),
        *invalid(ModelConfig, "arch", "big", ""),
        *invalid(ModelConfig, "channels", 2, 1.0, True),
        *invalid(ModelConfig, "height", 40, 32.0),
        *invalid(ModelConfig, "height", 48, arch="classic", attn_num_layers=2),
        *invalid(ModelConfig, "attn_num_layers", 1, arch="classic"),
        *invalid(TrainConfig, "patience", *WHOLE),
        *invalid(TrainConfig, "batch_size", 0, 2.5, config.MAX_BATCH + 1),
        *invalid(TrainConfig, "seed", -1, 2**32, 1.0),
        *invalid(TrainConfig, "initial_learning_rate", *ABOVE_ZERO),
        *invalid(TrainConfig, "max_time", *ABOVE_ZERO),
        *invalid(TrainConfig, "optimizer", "adamx"),
        *invalid(TrainConfig, "precision", "int8"),
        *invalid(ReadConfig, "beam", 0, config.MAX_BEAM),
        *invalid(ReadConfig, "alternatives", -1, config.MAX_BEAM - 1),
        *invalid(ReadConfig, "lexicon_weight", 1.0),
        *invalid(ReadConfig, "lexicon_weight", *ABOVE_ZERO, lexicon=("a",)),
    ],
)
def test_invalid_settings(record, settings, field):
    with pytest.raises(ConfigError) as caught:
        record(**({"charset": CHARSET} if record is ModelConfig else {}), **settings)
    assert caught.value.field == field and caught.value.value is settings[field]


def test_valid_choices():
    for name, arch in config.ARCHS.items():
        assert ModelConfig(CHARSET, arch=name, **arch.defaults).arch == name
    for name, rate in config.OPTIMIZERS.items():
        assert TrainConfig(optimizer=name).learning_rate == rate
        assert TrainConfig(optimizer=name, initial_learning_rate=0.5).learning_rate == 0.5
    for name in config.PRECISIONS:
        assert TrainConfig(precision=name).max_epochs == config.MAX_EPOCHS
    assert TrainConfig(seed=2**32 - 1, num_epoch=3).max_epochs == 3
    assert ReadConfig(beam=3, alternatives=7).width == 8


@pytest.mark.parametrize(
    ("width", "height", "network_width"),
    [(160, 60, 86), (160, 32, 160), (100, 100, 32), (1, 3000, 1), (3000, 64, 1500)],
)
def test_network_width(width, height, network_width):
    assert ModelConfig(CHARSET, max_width=width, max_height=height).network_width == network_width
    doubled = ModelConfig(CHARSET, max_width=width, max_height=height, height=64).network_width
    assert 2 * network_width - 1 <= doubled <= 2 * network_width


def test_records_are_frozen():
    for record, name in ((ModelConfig(CHARSET), "max_width"), (TrainConfig(), "seed"), (ReadConfig(), "beam")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, 1)


@pytest.mark.parametrize("module", [config, results])
def test_every_field_has_a_sentence(module):
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    for record in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for node, after in zip(record.body, [*record.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign):
                is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert is_text and after.value.value.endswith("."), f"{record.name}.{node.target.id}"


def test_classic_is_named_only_in_its_description():
    package = Path(config.__file__).parent
    naming = set()
    for path in package.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        if any(isinstance(node, ast.Constant) and node.value == "classic" for node in nodes):
            naming.add(path.relative_to(package).as_posix())
    assert naming == {"config.py", "exchange/aocr_0_7_6.py"}
