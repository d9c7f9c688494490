"""Build an ONNX graph node by node. A tensor is represented by its name, a string."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aocr.protobuf import field

FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9
"""Element types of ONNX tensors."""
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int32): INT32, np.dtype(np.int64): INT64, np.dtype(bool): BOOL}

OPSET, IR_VERSION = 17, 8
"""Versions of 2022, which every ONNX runtime in use supports."""


def _tensor(name: str, value: np.ndarray) -> bytes:
    dims = b"".join(field(1, size) for size in value.shape)
    return dims + field(2, _TYPES[value.dtype]) + field(8, name) + field(9, np.ascontiguousarray(value).tobytes())


def _value_info(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """Encode a ValueInfoProto; a string in the shape names a dimension that may vary."""
    dims = b"".join(field(1, field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, Graph):
        body, kind = field(6, value.encode(name)), 5
    elif isinstance(value, float):
        body, kind = field(2, value), 1
    elif isinstance(value, int):
        body, kind = field(3, value), 2
    elif isinstance(value, str):
        body, kind = field(4, value), 3
    else:
        body, kind = b"".join(field(8, item) for item in value), 7
    return field(1, name) + body + field(20, kind)


class Graph:
    """An ONNX graph under construction: `graph.Add(a, b)` appends an Add node and returns the name of its output.

    Inputs are names, numbers or arrays; a Python number becomes a float32 or an int64. A nested graph, such as the
    body of a loop, can use the tensors of the `outer` one, and all share one set of constants.
    """

    def __init__(self, outer: Graph | None = None):
        self._top: Graph = outer._top if outer else self
        self._nodes: list[bytes] = []
        self._value_infos: list[bytes] = []
        self._constants: dict[tuple, str] = {}
        self._named: set[str] = set()
        self._initializers: list[bytes] = []
        self._numbers = itertools.count()

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        if kind.startswith("_"):
            raise AttributeError(kind)
        return lambda *inputs, **options: self.node(kind, *inputs, **options)

    def node(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Append a node of an operator such as `Add`; an input of None is omitted.

        Returns the name of the output, or a list of names if there are several.
        """
        sources = [self._source(value) for value in inputs]
        number = next(self._top._numbers)
        names = [f"{kind}_{number}" + (f"_{i}" if i else "") for i in range(outputs)]
        body = b"".join(field(1, name) for name in sources)
        body += b"".join(field(2, name) for name in names)
        body += field(3, names[0]) + field(4, kind)
        body += b"".join(field(5, _attribute(name, value)) for name, value in attributes.items())
        self._nodes.append(body)
        return names[0] if outputs == 1 else names

    def _source(self, value: Any) -> str:
        if value is None:
            return ""
        return value if isinstance(value, str) else self._constant(value)

    def _constant(self, value: Any) -> str:
        if isinstance(value, float):
            value = np.float32(value)
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        top = self._top
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in top._constants:
            name = top._constants[key] = f"constant_{next(top._numbers)}"
            top._initializers.append(_tensor(name, array))
        return top._constants[key]

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a named constant unless it exists, and return its name."""
        top = self._top
        if name not in top._named:
            top._named.add(name)
            top._initializers.append(_tensor(name, value))
        return name

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """Declare an input and return its name. In a nested graph a number is appended to the name."""
        if self is not self._top:
            name = f"{name}_{next(self._top._numbers)}"
        self._value_infos.append(field(11, _value_info(name, kind, shape)))
        return name

    def output(self, tensor: str, name: str, kind: int, shape: Sequence[int | str]) -> None:
        """Declare an output."""
        if self is not self._top:
            name = f"{name}_{next(self._top._numbers)}"
        body = field(1, tensor) + field(2, name) + field(3, name) + field(4, "Identity")
        self._nodes.append(body)
        self._value_infos.append(field(12, _value_info(name, kind, shape)))

    def encode(self, name: str) -> bytes:
        """Encode the graph as a GraphProto."""
        nodes = b"".join(field(1, node) for node in self._nodes)
        initializers = b"".join(field(5, tensor) for tensor in self._initializers)
        return nodes + field(2, name) + initializers + b"".join(self._value_infos)

    def model(self, producer: str, version: str, metadata: dict[str, str]) -> bytes:
        """Encode the whole file as a ModelProto."""
        head = field(1, IR_VERSION) + field(2, producer) + field(3, version)
        body = field(7, self.encode(producer)) + field(8, field(1, "") + field(2, OPSET))
        return head + body + b"".join(field(14, field(1, key) + field(2, value)) for key, value in metadata.items())
