# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's REST API: https://www.tensorflow.org/tfx/serving/api_rest."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

import numpy as np

from components.server.bodies import read_json, write_json
from components.server.errors import RequestError
from components.server.tensors import TensorSpec, text
from components.server.versions import ServedVersion, Signature

DEFAULT_SIGNATURE = "serving_default"


def status(served: ServedVersion) -> dict[str, Any]:
    """Of the model."""
    state = {"version": str(served.version), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return {"model_version_status": [state]}


def metadata(served: ServedVersion, name: str) -> dict[str, Any]:
    """What the signatures take and give."""
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(served.version)},
        "metadata": {"signature_def": {"signature_def": served.definition}},
    }


def predict(served: ServedVersion, body: bytes) -> bytes:
    """Answers `:predict` in JSON, in rows (`instances`) or in columns (`inputs`).

    Raises:
        RequestError: the request is wrong.
    """
    request = read_json(body)
    name = request.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str) or name not in served.signatures:
        raise RequestError(f"signature_name {name!r}: unknown; give one of {', '.join(served.signatures)}")
    signature = served.signatures[name]
    in_rows = "instances" in request
    if in_rows == ("inputs" in request):
        raise RequestError("give either `instances` (rows) or `inputs` (columns)")
    columns = _rows(signature, request["instances"]) if in_rows else _columns(signature, request["inputs"])
    outputs = {key: _plain(value) for key, value in signature(columns).items()}
    if in_rows:
        return write_json({"predictions": [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]})
    return write_json({"outputs": outputs})


def _rows(signature: Signature, instances: Any) -> dict[str, Any]:
    if not isinstance(instances, list) or not instances:
        raise RequestError("`instances` is not a list of rows")
    names = list(signature.inputs)
    # A signature of one input takes its values without the name; {"b64": …} is such a value.
    rows = [row if _is_named(row) or len(names) > 1 else {names[0]: row} for row in instances]
    if not all(isinstance(row, dict) for row in rows):
        raise RequestError(f"`instances`: each row is an object of {', '.join(names)}")
    if any(row.keys() != rows[0].keys() for row in rows):
        raise RequestError("`instances`: rows with different names")
    return {name: _values(signature, name, [row[name] for row in rows]) for name in rows[0]}


def _columns(signature: Signature, inputs: Any) -> dict[str, Any]:
    if not _is_named(inputs):
        if len(signature.inputs) > 1:
            raise RequestError(f"`inputs` is not an object of {', '.join(signature.inputs)}")
        inputs = {next(iter(signature.inputs)): inputs}
    return {name: _values(signature, name, values) for name, values in inputs.items()}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _values(signature: Signature, name: str, values: Any) -> Any:
    spec = signature.inputs.get(name)
    return _strings(spec, values) if spec is not None and spec.datatype == "BYTES" else values


def _strings(spec: TensorSpec, values: Any) -> Any:
    """Strings as UTF-8, {"b64": …} decoded."""
    if isinstance(values, list):
        return [_strings(spec, value) for value in values]
    if isinstance(values, str):
        return values.encode("utf-8", errors="surrogatepass")
    if isinstance(values, dict) and values.keys() == {"b64"}:
        return from_base64(spec.name, values["b64"])
    raise RequestError(f'input {spec.name}: neither a string nor {{"b64": …}}')


def from_base64(name: str, value: Any) -> bytes:
    """The bytes of an input's value.

    Raises:
        RequestError: it is not base64.
    """
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise RequestError(f"input {name}: a value is not valid base64") from None


def _plain(value: np.ndarray) -> list:
    decode: Callable[[Any], Any] = np.vectorize(text, otypes=[object]) if value.dtype == object else lambda same: same
    return decode(value).tolist()
