"""TensorFlow Serving's REST: the forms of its documentation, and what is no request."""

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


def asked(**request):
    return protocol.parse_request(json.dumps(request).encode())


def answered(found, *texts):
    return protocol.answer(found, [Prediction(text, 0.5) for text in texts])


def row(text):
    return {"output": text, "probability": 0.5}


@pytest.mark.parametrize(
    "request_, shape, expected",
    [
        ({"instances": [A, B]}, (2,), {"predictions": [row("a"), row("b")]}),
        ({"instances": [{"input": A}, {"input": B}]}, (2,), {"predictions": [row("a"), row("b")]}),
        ({"instances": [[A], [B]]}, (2, 1), {"predictions": [
            {"output": ["a"], "probability": [0.5]}, {"output": ["b"], "probability": [0.5]}]}),
        ({"inputs": [A, B]}, (2,), {"outputs": {"output": ["a", "b"], "probability": [0.5, 0.5]}}),
        ({"inputs": {"input": [A, B]}}, (2,), {"outputs": {"output": ["a", "b"], "probability": [0.5, 0.5]}}),
        ({"inputs": {"input": [[A, B]]}}, (1, 2), {"outputs": {"output": [["a", "b"]], "probability": [[0.5, 0.5]]}}),
    ],
)  # fmt: skip
def test_the_answer_has_the_form_of_the_request(request_, shape, expected):
    found = asked(**request_)
    assert (found.shape, found.images) == (shape, [b"first", b"second"])
    assert answered(found, "a", "b") == expected


@pytest.mark.parametrize("inputs", [A, {"input": A}])
def test_a_single_value_gets_a_single_answer(inputs):
    """The request of upstream's README among them."""
    found = asked(signature_name="serving_default", inputs=inputs)
    assert (found.shape, found.images) == ((), [b"first"])
    assert answered(found, "a") == {"outputs": row("a")}


def test_pixels_are_a_list_of_images():
    found = asked(signature_name="pixels", instances=[[[[0], [255.5]]], [[[1], [2]]]])
    np.testing.assert_array_equal(found.pixels, np.array([[[[0], [255.5]]], [[[1], [2]]]], np.float32))
    assert answered(found, "a", "b") == {"predictions": [row("a"), row("b")]}


@pytest.mark.parametrize("text", ["Zmly\nc3Q=", "Zmlyc3Q", "Zmly c3Q"])
def test_base64_may_have_line_breaks_and_lack_its_padding(text):
    assert asked(inputs={"b64": text}).images == [b"first"]


@pytest.mark.parametrize(
    "body, told",
    [
        (b"", "not JSON"),
        (b"[1]", "must be an object"),
        (b"\xff{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ({}, "either instances or inputs."),
        ({"instances": [A], "inputs": A}, "not both"),
        ({"instances": A}, "must be a list"),
        ({"instances": []}, "list is empty"),
        ({"instances": [A, {"input": B}]}, "instances[1]: some"),
        ({"instances": [{"image": A}]}, "instances[0]: must be"),
        ({"instances": [{"input": A, "more": 1}]}, "instances[0]: must be"),
        ({"inputs": {"image": A}}, "inputs must be"),
        ({"instances": [[A, B], [A]]}, "one length"),
        ({"instances": [A, [B]]}, "equally deep"),
        ({"instances": json.loads("[" * 33 + '"x"' + "]" * 33)}, "32 lists at the most"),
        ({"instances": json.loads("[" * 65 + "1" + "]" * 65), "signature_name": "pixels"}, "32 lists at the most"),
        ({"instances": [[A], B]}, "one length"),
        ({"instances": [A, "text"]}, "instances[1]: must be"),
        ({"instances": [A, None]}, "instances[1]: must be"),
        ({"inputs": {"b64": "%"}}, "inputs: its b64 is not base64"),
        ({"instances": [A, {"b64": "é"}]}, "instances[1]: its b64 is not base64"),
        ({"instances": [A], "signature_name": "other"}, "serving_default, pixels"),
        ({"instances": [A], "signature_name": ["pixels"]}, "serving_default, pixels"),
        ({"instances": [True], "signature_name": "pixels"}, "must be numbers"),
        ({"instances": [10**400], "signature_name": "pixels"}, "must be numbers"),
        (b'{"instances": [NaN], "signature_name": "pixels"}', "must be numbers"),
    ],
)
def test_what_is_no_request_is_told(body, told):
    with pytest.raises(HTTPError) as caught:
        protocol.parse_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.status == 400
    assert told in str(caught.value)


def test_batches_are_cut_where_padding_would_cost_more_than_a_call():
    assert split_by_width([], 4) == []
    assert split_by_width([100, 99, 98], 4) == [range(0, 3)]
    assert split_by_width([100] * 9, 4) == [range(0, 4), range(4, 8), range(8, 9)]
    assert split_by_width([600, 100, 100, 100], 4) == [range(0, 1), range(1, 4)]


def test_metrics_are_as_prometheus_reads_them():
    metrics = Metrics()
    metrics.requests.add('/a"b\\', "200")
    metrics.requests.add('/a"b\\', "200")
    for size in (1, 3, 1000):
        metrics.batches.observe(size)
    metrics.seconds.observe(0.02, "read")
    lines = metrics.text().splitlines()
    assert r'aocr_requests_total{route="/a\"b\\",status="200"} 2' in lines
    assert [line for line in lines if line.startswith("aocr_batch_size")][-4:] == [
        'aocr_batch_size_bucket{le="128"} 2',
        'aocr_batch_size_bucket{le="+Inf"} 3',
        "aocr_batch_size_sum 1004",
        "aocr_batch_size_count 3",
    ]
    assert 'aocr_stage_seconds_bucket{stage="read",le="0.025"} 1' in lines
    assert 'aocr_stage_seconds_bucket{stage="read",le="0.01"} 0' in lines
