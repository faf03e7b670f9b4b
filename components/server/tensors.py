# SPDX-License-Identifier: Apache-2.0
"""A signature's inputs and outputs: their types in both protocols, and arrays checked against them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from components.server.errors import RequestError

OPEN_INFERENCE_TYPES = {tf.string: "BYTES", tf.float32: "FP32", tf.int64: "INT64"}
"""Of the tensors that the exported model's signatures have."""
MAX_ROWS = 1024
"""Of a request: a body of nothing but empty rows would keep a worker for minutes."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; a dimension of any size is -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, spec: Any) -> "TensorSpec":
        """From TensorFlow's."""
        shape = tuple(-1 if size is None else size for size in spec.shape)
        return cls(name, OPEN_INFERENCE_TYPES[spec.dtype], shape)


def checked(spec: TensorSpec, values: Any) -> np.ndarray:
    """An input as an array of its type and rank.

    Args:
        spec: the input.
        values: nested lists of JSON's numbers or of bytes, or an array.

    Raises:
        RequestError: another type or shape.
    """
    try:
        array = np.asarray(values, object if spec.datatype == "BYTES" else None)
    except ValueError:  # lists of unequal lengths
        raise RequestError(f"input {spec.name}: rows of unequal lengths; pad them, and give `lengths`") from None
    if array.size == 0 and spec.datatype != "BYTES":
        array = array.astype(np.float32 if spec.datatype == "FP32" else np.int64)
    if array.ndim != len(spec.shape) or any(size not in (-1, got) for size, got in zip(spec.shape, array.shape, strict=True)):
        raise RequestError(f"input {spec.name}: shape {list(array.shape)}; expected {list(spec.shape)}, -1 being any size")
    if spec.datatype == "BYTES":
        wrong = next((value for value in array.flat if not isinstance(value, bytes)), None)
        if wrong is not None:
            raise RequestError(f"input {spec.name}: holds {type(wrong).__name__}; expected bytes")
        return array
    if array.dtype.kind not in {"FP32": "iuf", "INT64": "iu"}[spec.datatype]:
        raise RequestError(f"input {spec.name}: not {'numbers' if spec.datatype == 'FP32' else 'whole numbers'} alone")
    if array.dtype == np.uint64 and spec.datatype == "INT64":
        raise RequestError(f"input {spec.name}: numbers beyond 64 bits")
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite, and the model says so
        return array.astype(np.float32 if spec.datatype == "FP32" else np.int64)


def checked_inputs(specs: Mapping[str, TensorSpec], given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """All inputs of a signature, of one batch size.

    Raises:
        RequestError: one is missing, unknown or wrong, or the batches differ.
    """
    for name in given:
        if name not in specs:
            raise RequestError(f"input {name}: unknown; expected {', '.join(specs)}")
    for name in specs:
        if name not in given:
            raise RequestError(f"input {name}: missing")
    arrays = {name: checked(spec, given[name]) for name, spec in specs.items()}
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise RequestError(f"inputs of unequal batch sizes: {', '.join(f'{name} {size}' for name, size in sizes.items())}")
    if not 1 <= max(sizes.values()) <= MAX_ROWS:
        raise RequestError(f"{max(sizes.values())} rows; a request has 1 to {MAX_ROWS}")
    return arrays


def text(value: bytes) -> str:
    """A string output for JSON."""
    return value.decode("utf-8", errors="replace")
