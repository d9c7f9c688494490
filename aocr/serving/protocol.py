"""TensorFlow Serving's REST API: requests in rows (`instances`) or columns (`inputs`), answered in the same form.

A value of the signature `serving_default` is an encoded image, `{"b64": text}`; a value of `pixels` is a number.
Values may be nested in lists of any depth that form an array; the answer has the array's shape. A value without a
list gets a single answer.

See https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aocr.results import Prediction
from aocr.serving.web import HTTPError, read_page

INPUT = "input"
"""Name of the only input of both signatures."""
MAX_DEPTH = 32
"""Maximum depth of nested lists; numpy's arrays have at most this many dimensions."""
MAX_PIXELS = 20_000_000
"""Maximum number of pixels of an image."""
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*", b"MM")
URL_SAFE = str.maketrans("-_", "+/")
"""The two characters in which base64 for URLs differs."""
SIGNATURES = ("serving_default", "pixels")


@dataclass(frozen=True)
class PredictRequest:
    """A parsed request for predictions."""

    key: str
    """`instances` or `inputs`, as in the request."""
    shape: tuple[int, ...]
    """Shape of the input; () for a single value."""
    images: Sequence[tuple[str, bytes]] = ()
    """Name for messages and encoded bytes of each image (for `serving_default`)."""
    pixels: np.ndarray | None = None
    """Array of that shape: batch, height, width, channels (for `pixels`)."""


def parse_request(body: bytes, channels: int) -> PredictRequest:
    """Parse the body of a request to a model that reads images of `channels` channels.

    Raises:
      HTTPError: the body is not a valid request.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        advice = " Send an image file itself to /read." if body.startswith(IMAGE_STARTS) else ""
        raise HTTPError(400, f"The body is not JSON: {error}.{advice}") from None
    if not isinstance(request, dict):
        raise HTTPError(400, 'The body must be an object: {"instances": [...]} or {"inputs": ...}.')
    signature = request.get("signature_name", "") or "serving_default"
    if signature not in SIGNATURES:
        raise HTTPError(400, f"signature_name must be one of {', '.join(SIGNATURES)}.")
    keys = [key for key in ("instances", "inputs") if key in request]
    if len(keys) != 1:
        raise HTTPError(400, "Send either instances or inputs" + (", not both." if keys else "."))
    key = keys[0]
    value = request[key]
    if key == "inputs":
        value = _input_value(value, key)
    elif isinstance(value, list):
        value = [_input_value(row, f"{key}[{i}]") for i, row in enumerate(value)]
    else:
        raise HTTPError(400, "instances must be a list.")
    values, shape = _flatten(value, key)
    if signature == "pixels":
        if len(shape) != 4 or shape[3] != channels or shape[1] * shape[2] > MAX_PIXELS:
            limits = f"the shape (batch, height, width, {channels}), up to {MAX_PIXELS:,} per image"
            raise HTTPError(400, f"{key}: pixels must have {limits}.")
        return PredictRequest(key, shape, pixels=_pixels(values, key).reshape(shape))
    names = [f"{key}[{i}]" for i in range(len(values))] if shape else [key]
    return PredictRequest(key, shape, [(name, _image(value, name)) for name, value in zip(names, values, strict=True)])


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _input_value(value: Any, name: str) -> Any:
    """Return the value of the input, given alone or as {"input": value}."""
    if not isinstance(value, dict) or _is_image(value):
        return value
    if value.keys() != {INPUT}:
        raise HTTPError(400, f'{name}: must be {{"{INPUT}": value}}, or the value alone.')
    return value[INPUT]


def _flatten(value: Any, key: str) -> tuple[list, tuple[int, ...]]:
    """Return the values in nested lists, in order, and the shape of the lists."""
    level: list = [value]
    shape: list[int] = []
    while isinstance(level[0], list):
        if len(shape) == MAX_DEPTH:
            raise HTTPError(400, f"{key}: values may be nested in at most {MAX_DEPTH} lists.")
        if not all(isinstance(item, list) and len(item) == len(level[0]) for item in level):
            raise HTTPError(400, f"{key}: lists at the same depth must have the same length.")
        if not level[0]:
            raise HTTPError(400, f"{key}: a list is empty.")
        shape.append(len(level[0]))
        level = [value for item in level for value in item]
    if any(isinstance(item, list) for item in level):
        raise HTTPError(400, f"{key}: all values must be nested at the same depth.")
    return level, tuple(shape)


def _image(value: Any, name: str) -> bytes:
    if not _is_image(value):
        raise HTTPError(400, f'{name}: must be {{"b64": text}}, an image file in base64.')
    text = value["b64"].partition(";base64,")[2] if value["b64"].startswith("data:") else value["b64"]
    text = "".join(text.split()).rstrip("=").translate(URL_SAFE)  # some encoders break lines or omit the padding
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        advice = " It is the text of Python bytes: decode() it first." if text.startswith(("b'", 'b"')) else ""
        raise HTTPError(400, f"{name}: b64 is not valid base64.{advice}") from None


def _pixels(values: list, key: str) -> np.ndarray:
    error = HTTPError(400, f"{key}: pixels must be numbers from 0 to 255.")
    if not all(type(value) in (int, float) for value in values):
        raise error
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, np.float32)
    except OverflowError:
        raise error from None
    if not np.isfinite(array).all():
        raise error
    return array


def answer(request: PredictRequest, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the answer to a request: rows for rows, columns for columns, in the input's shape."""
    shape = request.shape if request.pixels is None else request.shape[:1]
    columns = {
        "output": np.array([prediction.text for prediction in predictions], object).reshape(shape).tolist(),
        "probability": np.array([prediction.confidence for prediction in predictions]).reshape(shape).tolist(),
    }
    if request.key == "inputs":
        return {"outputs": columns}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def status(version: int) -> dict[str, Any]:
    """Return the status of a served model."""
    no_error = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(version), "state": "AVAILABLE", "status": no_error}]}


def metadata(name: str, version: int, channels: int) -> dict[str, Any]:
    """Return the signatures of a model that reads images of `channels` channels."""
    values = json.loads(read_page("metadata.json"))
    values["model_spec"].update(name=name, version=str(version))
    pixels = values["metadata"]["signature_def"]["signature_def"]["pixels"]
    pixels["inputs"][INPUT]["tensor_shape"]["dim"][3]["size"] = str(channels)
    return values
