"""TensorFlow Serving's REST: requests in rows (`instances`) or columns (`inputs`), answers in the same form.

A value of the signature `serving_default` is an encoded image, `{"b64": text}`; of `pixels` it is a number. Values
stand in lists of any depth, all of one shape, and the answer has that shape too: a single value gets a single answer.

See https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aocr.results import Prediction
from aocr.serving.web import HTTPError

INPUT = "input"
"""Name of the one input of both signatures."""
MAX_DEPTH = 32
"""Of lists in lists; numpy's arrays have as many dimensions."""
SIGNATURES = {"serving_default": "DT_STRING", "pixels": "DT_FLOAT"}
"""Signature -> type of its input."""


@dataclass(frozen=True)
class PredictRequest:
    """A request, understood.

    Attributes:
      signature: a name of `SIGNATURES`.
      key: `instances` or `inputs`, as it came.
      shape: of the input; (): a single value.
      images: of `serving_default`, encoded, in order.
      pixels: of `pixels`, an array of that shape.
    """

    signature: str
    key: str
    shape: tuple[int, ...]
    images: Sequence[bytes] = ()
    pixels: np.ndarray | None = None

    def place(self, index: int) -> str:
        """How a message names one of the images."""
        return f"{self.key}[{index}]" if self.shape else self.key


def parse_json(body: bytes) -> Any:
    """What a request's body says.

    Raises:
      HTTPError: it is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPError(400, f"The body is not JSON: {error}.") from None


def parse_request(body: bytes) -> PredictRequest:
    """Understand a request.

    Raises:
      HTTPError: it is none; says what of it.
    """
    request = parse_json(body)
    if not isinstance(request, dict):
        raise HTTPError(400, 'The body must be an object: {"instances": [...]} or {"inputs": ...}.')
    signature = request.get("signature_name", "") or "serving_default"
    if signature not in list(SIGNATURES):
        raise HTTPError(400, f"signature_name must be one of {', '.join(SIGNATURES)}.")
    given = [key for key in ("instances", "inputs") if key in request]
    if len(given) != 1:
        raise HTTPError(400, "Give either instances or inputs" + (", not both." if given else "."))
    key = given[0]
    leaves, shape = _flattened(_rows(request[key]) if key == "instances" else _columns(request[key]), key)
    asked = PredictRequest(signature, key, shape)
    if signature == "pixels":
        return replace(asked, pixels=_numbers(leaves, key).reshape(shape))
    return replace(asked, images=[_image(value, asked.place(i)) for i, value in enumerate(leaves)])


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _rows(instances: Any) -> list:
    """The values of rows: plain, or each an object with the one input."""
    if not isinstance(instances, list):
        raise HTTPError(400, "instances must be a list.")
    named = [isinstance(row, dict) and not _is_image(row) for row in instances]
    for i, (row, is_named) in enumerate(zip(instances, named, strict=True)):
        if is_named != named[0]:
            raise HTTPError(400, f"instances[{i}]: some instances name their input and some do not.")
        if is_named and row.keys() != {INPUT}:
            raise HTTPError(400, f'instances[{i}]: must be {{"{INPUT}": value}}, or the value alone.')
    return [row[INPUT] for row in instances] if instances and named[0] else instances


def _columns(inputs: Any) -> Any:
    """The value of the one input, by its name or alone."""
    if not isinstance(inputs, dict) or _is_image(inputs):
        return inputs
    if INPUT not in inputs:
        raise HTTPError(400, f'inputs must be {{"{INPUT}": value}}, or the value alone.')
    return inputs[INPUT]


def _flattened(value: Any, key: str) -> tuple[list, tuple[int, ...]]:
    """The values in nested lists, in order, and the shape of the lists."""
    level, shape = [value], []  # type: ignore[var-annotated]
    while isinstance(level[0], list):
        if len(shape) == MAX_DEPTH:
            raise HTTPError(400, f"{key}: values may stand in {MAX_DEPTH} lists at the most.")
        if not all(isinstance(item, list) and len(item) == len(level[0]) for item in level):
            raise HTTPError(400, f"{key}: lists that stand equally deep must be of one length.")
        if not level[0]:
            raise HTTPError(400, f"{key}: a list is empty.")
        shape.append(len(level[0]))
        level = [value for item in level for value in item]
    if any(isinstance(item, list) for item in level):
        raise HTTPError(400, f"{key}: all values must stand equally deep in lists.")
    return level, tuple(shape)


def _image(value: Any, place: str) -> bytes:
    if not _is_image(value):
        raise HTTPError(400, f'{place}: must be {{"b64": text}}, the file of an image in base64.')
    text = value["b64"]
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # broken into lines, or without the padding at its end
        text = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise HTTPError(400, f"{place}: its b64 is not base64.") from None


def _numbers(values: list, key: str) -> np.ndarray:
    if not all(type(value) in (int, float) for value in values):
        raise HTTPError(400, f"{key}: pixels must be numbers from 0 to 255.")
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, np.float32)
    except OverflowError:
        array = np.array([np.inf])
    if not np.isfinite(array).all():
        raise HTTPError(400, f"{key}: pixels must be numbers from 0 to 255.")
    return array


def answer(asked: PredictRequest, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """What is answered: rows for rows, columns for columns, of the input's shape."""
    shape = asked.shape[:1] if asked.signature == "pixels" else asked.shape
    columns = {
        "output": _shaped([prediction.text for prediction in predictions], shape),
        "probability": _shaped([prediction.confidence for prediction in predictions], shape),
    }
    if asked.key == "inputs":
        return {"outputs": columns}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def _shaped(values: list, shape: tuple[int, ...]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape).tolist()


def status(version: int) -> dict[str, Any]:
    """The state of a model that is served."""
    fine = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(version), "state": "AVAILABLE", "status": fine}]}


def metadata(name: str, version: int, channels: int) -> dict[str, Any]:
    """The signatures of a model.

    Args:
      name, version: of the model.
      channels: of the images it reads.
    """
    shapes: dict[str, list[int] | None] = {"serving_default": None, "pixels": [-1, -1, -1, channels]}
    signatures = {}
    for signature, kind in SIGNATURES.items():
        shape = shapes[signature]
        of_answer = None if shape is None else shape[:1]
        signatures[signature] = {
            "inputs": {INPUT: _tensor(f"{signature}_{INPUT}:0", kind, shape)},
            "outputs": {
                "output": _tensor("StatefulPartitionedCall:0", "DT_STRING", of_answer),
                "probability": _tensor("StatefulPartitionedCall:1", "DT_DOUBLE", of_answer),
            },
            "method_name": "tensorflow/serving/predict",
        }
    spec = {"name": name, "signature_name": "", "version": str(version)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}


def _tensor(name: str, kind: str, shape: list[int] | None) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in shape or []]
    return {"dtype": kind, "tensor_shape": {"dim": dims, "unknown_rank": shape is None}, "name": name}
