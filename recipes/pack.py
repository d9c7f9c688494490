"""Pack a trained model folder for distribution: model.json, and weights.npz as compressed float16.

    python recipes/pack.py MODEL_DIR OUTPUT

The temperature is kept; step and scores are left out. Prints the size and the digest of weights.npz, for
tests/test_words.py.
"""

import hashlib
import io
import sys
from dataclasses import replace

import numpy as np

from aocr import files
from aocr.folder.model_folder import WEIGHTS, ModelFolder, WeightsInfo


def pack(trained: ModelFolder, packed: ModelFolder) -> None:
    """Write a packed copy of a trained model folder."""
    halves = {}
    for name, value in sorted(trained.read_weights().items()):
        with np.errstate(over="ignore"):
            halves[name] = value.astype(np.float16)
        if not np.isfinite(halves[name]).all():
            sys.exit(f"{trained}: {name} has values that float16 cannot hold. Train with a lower learning rate.")
    info = trained.weights_info()
    kept_info = WeightsInfo(temperature=info.temperature, num_calibration_images=info.num_calibration_images)
    config = replace(trained.read_config(), ctc_weight=0.0)  # photographs read half a point better without
    packed.write_config(config, kept_info)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **halves)
    files.write(packed.file(WEIGHTS), buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    print(f"{packed.file(WEIGHTS)}: {len(buffer.getvalue()):,} bytes, sha256 {digest}")
    print(f"{info.describe()}, temperature {info.temperature:.3f}")


if __name__ == "__main__":
    pack(*map(ModelFolder, sys.argv[1:]))
