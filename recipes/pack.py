"""Turns a trained model folder into one to pass on: model.json, weights.npz (float16), calibration.json.

    python recipes/pack.py MODEL_DIR OUTPUT

Prints the digest of the weights that tests/test_words.py holds the package to.
"""

import hashlib
import sys
from pathlib import Path

from aocr import machine

machine.start_tensorflow()

from aocr.folder.compact import write_compact  # noqa: E402
from aocr.folder.model_folder import CALIBRATION, COMPACT, ModelFolder  # noqa: E402
from aocr.folder.weights import read_weights  # noqa: E402


def main(source: str, target: str) -> None:
    """Pack SOURCE into TARGET."""
    trained, packed = ModelFolder(source), ModelFolder(target)
    chosen = trained.choose()
    packed.write_config(trained.read_config())
    write_compact(packed.file(COMPACT), read_weights(chosen.prefix))
    images = (trained.read_json(CALIBRATION) or {}).get("num_images", 0)
    packed.write_calibration(packed.file(COMPACT), chosen.temperature, images)
    data = Path(packed.file(COMPACT)).read_bytes()
    print(f"{packed.file(COMPACT)}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    print(f"from {chosen.prefix}, {chosen.why}, temperature {chosen.temperature:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
