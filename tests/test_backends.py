"""The network reads on JAX as it does on TensorFlow."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

FORWARD = """
import sys
import keras
import numpy as np
from aocr.config import ModelConfig
from aocr.model.recognizer import build_recognizer
from aocr.text.charset import Charset

folder = sys.argv[1]
assert keras.backend.backend() == sys.argv[2]
keras.utils.set_random_seed(1)
model = build_recognizer(ModelConfig(Charset("abcd"), attn_num_hidden=12, max_prediction=4))
weights = {v.path: v for v in model.variables if not v.path.endswith("seed_generator_state")}
if sys.argv[2] == "tensorflow":
    np.savez(folder + "/weights.npz", **{path: keras.ops.convert_to_numpy(v) for path, v in weights.items()})
else:
    for path, value in np.load(folder + "/weights.npz").items():
        weights[path].assign(value)
rng = np.random.default_rng(0)
images, widths = rng.normal(0, 0.5, (3, 32, 64, 1)).astype("float32"), np.array([64, 40, 20], "int32")
results = model(images, widths, rng.integers(3, 7, (3, 4)).astype("int32"))
reading = model.read(images, widths, beam=2, stop_early=False)
results = [keras.ops.convert_to_numpy(part) for part in (*results, reading.ids, reading.confidence)]
np.savez(folder + "/" + sys.argv[2] + ".npz", *results)
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_jax_computes_what_tensorflow_does(tmp_path):
    for backend in ("tensorflow", "jax"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend}
        command = [sys.executable, "-c", FORWARD, str(tmp_path), backend]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        assert done.returncode == 0, done.stderr
    expected, found = (dict(np.load(tmp_path / f"{backend}.npz")) for backend in ("tensorflow", "jax"))
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
