"""Pack a trained model folder to pass it on: model.json, and weights.npz as float16.

    python recipes/pack.py MODEL_DIR OUTPUT

Prints the digest of the weights that tests/test_words.py expects of the package.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

from aocr.folder.model_folder import WEIGHTS, ModelFolder


def main(source: str, target: str) -> None:
    """Pack SOURCE into TARGET."""
    trained, packed = ModelFolder(source), ModelFolder(target)
    weights = {name: array.astype(np.float16) for name, array in trained.read_weights().items()}
    info = trained.weights_info()
    packed.write_weights(weights, info, trained.read_config())
    data = Path(packed.file(WEIGHTS)).read_bytes()
    print(f"{packed.file(WEIGHTS)}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    print(f"from {source}, {info.describe()}, temperature {info.temperature:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
