"""TensorFlow Serving's REST format, batches by width, and Prometheus's text format."""

import base64
import json

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the extra serve is not installed")

from aocr.results import Prediction
from aocr.serving import protocol
from aocr.serving.batching import split_by_width
from aocr.serving.metrics import Metrics
from aocr.serving.web import HTTPError

A, B = ({"b64": base64.b64encode(data).decode()} for data in (b"first", b"second"))
COLUMNS = {"outputs": {"output": ["a", "b"], "probability": [0.5, 0.5]}}


def parse(**request):
    return protocol.parse_request(json.dumps(request).encode(), channels=1)


def answer(request, *texts):
    return protocol.answer(request, [Prediction(text, 0.5) for text in texts])


def row(text):
    return {"output": text, "probability": 0.5}


@pytest.mark.parametrize(
    "request_, shape, expected",
    [
        ({"instances": [A, B]}, (2,), {"predictions": [row("a"), row("b")]}),
        ({"instances": [{"input": A}, {"input": B}]}, (2,), {"predictions": [row("a"), row("b")]}),
        ({"instances": [[A], [B]]}, (2, 1), {"predictions": [
            {"output": ["a"], "probability": [0.5]}, {"output": ["b"], "probability": [0.5]}]}),
        ({"inputs": [A, B]}, (2,), COLUMNS),
        ({"inputs": {"input": [A, B]}}, (2,), COLUMNS),
        ({"inputs": {"input": [[A, B]]}}, (1, 2), {"outputs": {"output": [["a", "b"]], "probability": [[0.5, 0.5]]}}),
    ],
)  # fmt: skip
def test_answer_has_the_shape_of_the_request(request_, shape, expected):
    request = parse(**request_)
    assert (request.shape, [data for _, data in request.images]) == (shape, [b"first", b"second"])
    assert answer(request, "a", "b") == expected


@pytest.mark.parametrize("inputs", [A, {"input": A}])
def test_single_value_gets_a_single_answer(inputs):
    request = parse(signature_name="serving_default", inputs=inputs)  # as in the README of aocr 0.7.6
    assert (request.shape, request.images) == ((), [("inputs", b"first")])
    assert answer(request, "a") == {"outputs": row("a")}


def test_pixels():
    request = parse(signature_name="pixels", instances=[[[[0], [255.5]]], [[[1], [2]]]])
    np.testing.assert_array_equal(request.pixels, np.array([[[[0], [255.5]]], [[[1], [2]]]], np.float32))
    assert answer(request, "a", "b") == {"predictions": [row("a"), row("b")]}


@pytest.mark.parametrize("text", ["Zmly\nc3Q=", "Zmlyc3Q", "Zmly c3Q", "data:image/png;base64,Zmlyc3Q="])
def test_base64_in_other_spellings(text):
    assert parse(inputs={"b64": text}).images == [("inputs", b"first")]


def test_base64_for_urls():
    data = bytes(range(248, 256)) * 3
    assert parse(inputs={"b64": base64.urlsafe_b64encode(data).decode()}).images == [("inputs", data)]


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "not JSON"),
        (b"[1]", "must be an object"),
        (b"[" * 100_000, "not JSON"),
        ({}, "either instances or inputs."),
        ({"instances": [A], "inputs": A}, "not both"),
        ({"instances": A}, "must be a list"),
        ({"instances": []}, "list is empty"),
        ({"instances": [{"image": A}]}, "instances[0]: must be"),
        ({"inputs": {"image": A}}, "inputs: must be"),
        ({"instances": [[A, B], [A]]}, "same length"),
        ({"instances": [A, [B]]}, "same depth"),
        ({"instances": json.loads("[" * 33 + '"x"' + "]" * 33)}, "at most 32 lists"),
        ({"instances": [A, None]}, "instances[1]: must be"),
        ({"inputs": {"b64": "%"}}, "inputs: b64 is not"),
        ({"inputs": {"b64": str(base64.b64encode(b"first"))}}, "decode() it first"),
        ({"inputs": {"input": "Zmlyc3Q="}}, 'must be {"b64": text}'),
        (b"\x89PNG\r\n\x1a\n", "Send an image file itself to /read"),
        ({"instances": [A, {"b64": "é"}]}, "instances[1]: b64 is not"),
        ({"instances": [A], "signature_name": ["pixels"]}, "serving_default, pixels"),
        ({"instances": [1], "signature_name": "pixels"}, "must have the shape"),
        ({"instances": [[[[1, 2, 3]]]], "signature_name": "pixels"}, "must have the shape"),
        ({"instances": [[[[True]]]], "signature_name": "pixels"}, "must be numbers"),
        ({"instances": [[[[10**400]]]], "signature_name": "pixels"}, "must be numbers"),
        (b'{"instances": [[[[NaN]]]], "signature_name": "pixels"}', "must be numbers"),
    ],
)
def test_invalid_requests(body, message):
    with pytest.raises(HTTPError) as caught:
        protocol.parse_request(body if isinstance(body, bytes) else json.dumps(body).encode(), 1)
    assert caught.value.status == 400
    assert message in str(caught.value)


def test_batches_are_split_where_padding_would_cost_more_than_a_call():
    assert split_by_width([], 4) == []
    assert split_by_width([100, 99, 98], 4) == [range(0, 3)]
    assert split_by_width([100] * 9, 4) == [range(0, 4), range(4, 8), range(8, 9)]
    assert split_by_width([600, 100, 100, 100], 4) == [range(0, 1), range(1, 4)]


def test_metrics_in_prometheus_format():
    metrics = Metrics()
    metrics.requests["/read", 200] += 2
    for size in (1, 3, 1000):
        metrics.batch_sizes.observe(size)
    metrics.seconds["read"].observe(0.02)
    lines = metrics.text().splitlines()
    assert 'aocr_requests_total{route="/read",status="200"} 2' in lines
    assert [line for line in lines if line.startswith("aocr_batch_size")][-4:] == [
        'aocr_batch_size_bucket{le="128"} 2',
        'aocr_batch_size_bucket{le="+Inf"} 3',
        "aocr_batch_size_sum 1004",
        "aocr_batch_size_count 3",
    ]
    assert 'aocr_stage_seconds_bucket{stage="read",le="0.025"} 1' in lines
    assert 'aocr_stage_seconds_bucket{stage="read",le="0.01"} 0' in lines
