"""Set up the machine: a quiet start of TensorFlow, GPUs, precision, seeds. TensorFlow is imported on first use."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from aocr.errors import AocrError, ConfigError

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras's dtype policy for each precision."""


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what native code writes to standard error inside the block."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        sys.stderr.flush()
        stderr = os.dup(2)
    except (OSError, ValueError, AttributeError):
        yield
        return
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(silence)


def give_back_memory() -> None:
    """Collect garbage and return free heap pages to the operating system."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def start_tensorflow() -> None:
    """Import TensorFlow and Keras without their start-up messages; devices can still be chosen afterwards.

    Raises:
      AocrError: it is not installed.
    """
    if "tensorflow" not in sys.modules:
        if not has_package("tensorflow"):
            raise AocrError(
                "TensorFlow is not installed. Run pip install tensorflow. (Without it, aocr predict and aocr serve can "
                "read with ONNX Runtime.)"
            )
        os.environ["KERAS_BACKEND"] = "tensorflow"  # overrides a setting for other programs
        with quiet():
            import keras
            import tensorflow  # noqa: F401
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")


_tensorflow_process = 0
"""The process whose TensorFlow has started to compute; 0: none."""


def check_not_forked() -> None:
    """Refuse to compute with TensorFlow in a fork of the process that did: its threads are gone, so it would hang.

    Raises:
      AocrError: this is such a fork.
    """
    global _tensorflow_process
    _tensorflow_process = _tensorflow_process or os.getpid()
    if _tensorflow_process != os.getpid():
        raise AocrError(
            "TensorFlow does not work after a fork, and the model was loaded before it (gunicorn --preload, "
            "multiprocessing). Load it in each worker and not before, or install onnxruntime, which works there."
        )


def start_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry disabled.

    Raises:
      ImportError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def progress_bar(enabled: bool = True, **options) -> Any:
    """Return a tqdm bar that shows on a terminal and in a notebook only."""
    from tqdm.auto import tqdm

    is_shown = enabled and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    return tqdm(disable=not is_shown, **options)


def has_package(name: str) -> bool:
    """Whether a package is installed."""
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def has_gpu() -> bool:
    """Whether TensorFlow can probably use an NVIDIA GPU; does not start TensorFlow."""
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        return bool(tf.config.get_visible_devices("GPU"))
    return os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and os.path.exists("/dev/nvidiactl")


def use_gpu(gpu_id: int) -> None:
    """Make only GPU `gpu_id` visible to TensorFlow, or none if it is negative. Call before any operation runs.

    Raises:
      ConfigError: there are GPUs, but none with this id.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    if gpu_id >= len(gpus):
        raise ConfigError("--gpu-id", gpu_id, f"this machine has {len(gpus)} GPUs, numbered from 0.")
    tf.config.set_visible_devices(gpus[gpu_id : gpu_id + 1] if gpu_id >= 0 else [], "GPU")


def _cpu_flags() -> set[str]:
    with suppress(OSError), open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(("flags", "Features")):
                return set(line.split(":", 1)[1].split())
    return set()


def choose_precision(requested: str) -> tuple[str, str]:
    """Choose the precision of the convolutions for this machine.

    Args:
      requested: a precision, which is returned unchanged, or `auto`.

    Returns:
      The precision, and the reason in a few words.
    """
    if requested != "auto":
        return requested, "requested"
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        if capability >= (8, 0):
            return "bfloat16", f"GPU of compute capability {capability[0]}.{capability[1]}"
        if capability >= (7, 0):
            return "float16", f"GPU of compute capability {capability[0]}.{capability[1]}"
        return "float32", "the GPU has no fast 16-bit arithmetic"
    if _cpu_flags() & {"avx512_bf16", "amx_bf16"}:
        return "bfloat16", "the CPU has bfloat16 instructions"
    return "float32", "the CPU has no bfloat16 instructions"


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seed the random number generators of Python, numpy and TensorFlow; make CPU operations deterministic.

    Args:
      seed: the random seed.
      deterministic: make operations on a GPU deterministic too, which is slow and not supported by every kernel.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.random.set_seed(1 + seed % (2**31 - 2))  # with 0, Dataset.shuffle refuses a seed that is a tensor
    if deterministic or not tf.config.get_visible_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
