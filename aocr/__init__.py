"""Attention OCR: train a word reader on your own images, and run it.

    import aocr
    reader = aocr.load("checkpoints")
    for prediction in reader.predict(["a.png", "b.png"]):
        print(prediction.text, prediction.confidence)

Names are imported on first use, so that ``import aocr`` stays light; ``__init__.pyi`` has their types.
"""

from importlib import import_module

__version__ = "1.0.0.dev0"

_MODULES = {
    "AocrError": "aocr.errors",
    "Charset": "aocr.text.charset",
    "ModelConfig": "aocr.config",
    "ReadConfig": "aocr.config",
    "TrainConfig": "aocr.config",
    "Prediction": "aocr.results",
    "Predictor": "aocr.reading.predictor",
    "dataset": "aocr.data.command",
    "export": "aocr.exchange.command",
    "load": "aocr.reading.predictor",
    "test": "aocr.reading.command",
    "train": "aocr.training.command",
}

__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'aocr' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__():
    return __all__
