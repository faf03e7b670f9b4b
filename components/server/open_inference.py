# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol v2 over HTTP with its binary tensors: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol.

The protocol knows no signatures: each is a model of its own, `wav` under the model's name alone, the others as `NAME.SIGNATURE`.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from components.server.bodies import read_json, write_json
from components.server.errors import RequestError
from components.server.tensorflow_serving import from_base64
from components.server.tensors import TensorSpec, text
from components.server.versions import ServedVersion, Signature

HEADER_LENGTH = "Inference-Header-Content-Length"
MAIN_SIGNATURE = "wav"
NUMPY_TYPES = {"FP32": "<f4", "INT64": "<i8"}


def model_name(name: str, signature: str) -> str:
    """Under which a signature is asked."""
    return name if signature == MAIN_SIGNATURE else f"{name}.{signature}"


def server_metadata(version: str) -> dict[str, Any]:
    """Of `/v2`."""
    return {"name": "audio-gender", "version": version, "extensions": ["binary_tensor_data"]}


def metadata(served: ServedVersion, name: str, signature: Signature) -> dict[str, Any]:
    """Of a model."""
    return {
        "name": name,
        "versions": [str(served.version)],
        "platform": "tensorflow_savedmodel",
        "inputs": [_described(spec) for spec in signature.inputs.values()],
        "outputs": [_described(spec) for spec in signature.outputs.values()],
    }


def infer(served: ServedVersion, name: str, signature: Signature, body: bytes, header: str | None) -> tuple[bytes, int | None]:
    """Answers `/infer`.

    Args:
        served: the version that answers.
        name: the model's, for the answer.
        signature: what is asked.
        body: the request's.
        header: its `Inference-Header-Content-Length`: where the JSON ends and binary tensors begin.

    Returns:
        The answer, and where its JSON ends if binary tensors follow.

    Raises:
        RequestError: the request is wrong.
    """
    end = _json_length(header, len(body))
    request = read_json(body[:end])
    given = dict(_inputs(signature, request.get("inputs"), memoryview(body)[end:]))
    wanted = list(_wanted(signature, request))
    answers = signature(given)
    outputs, binary = [], []
    for output, as_binary in wanted:
        value, spec = answers[output], signature.outputs[output]
        entry: dict[str, Any] = {"name": output, "shape": list(value.shape), "datatype": spec.datatype}
        if as_binary:
            binary.append(_to_binary(value))
            entry["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            entry["data"] = [text(item) if isinstance(item, bytes) else item for item in value.ravel().tolist()]
        outputs.append(entry)
    answer = {"model_name": name, "model_version": str(served.version), "outputs": outputs}
    if isinstance(request.get("id"), str):
        answer["id"] = request["id"]
    head = write_json(answer)
    return b"".join([head, *binary]), len(head) if binary else None


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit()) or len(header) > 18 or int(header) > size:
        raise RequestError(f"{HEADER_LENGTH}: not a number of bytes within the request")
    return int(header)


def _inputs(signature: Signature, inputs: Any, binary: memoryview) -> Iterator[tuple[str, Any]]:
    if not isinstance(inputs, list) or not all(isinstance(item, dict) for item in inputs):
        raise RequestError("`inputs` is not a list of tensors")
    seen = set()
    for item in inputs:
        name, shape, parameters = item.get("name"), item.get("shape"), _parameters(item)
        spec = signature.inputs.get(name) if isinstance(name, str) else None
        if spec is None or name in seen:
            raise RequestError(f"input {str(name)[:100]}: unknown or given twice; expected {', '.join(signature.inputs)}")
        seen.add(name)
        if item.get("datatype") != spec.datatype:
            raise RequestError(f"input {name}: datatype {str(item.get('datatype'))[:20]}; expected {spec.datatype}")
        if not isinstance(shape, list) or len(shape) > 8 or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
            raise RequestError(f"input {name}: shape is not a list of sizes")
        size = parameters.get("binary_data_size")
        if size is None:
            values = _from_json(spec, item.get("data"), parameters)
        else:
            if type(size) is not int or not 0 <= size <= len(binary):
                raise RequestError(f"input {name}: binary_data_size is not a number of bytes within the request")
            values, binary = _from_binary(spec, binary[:size]), binary[size:]
        if values.size != math.prod(shape):
            raise RequestError(f"input {name}: {values.size} values; shape {shape} holds {math.prod(shape)}")
        yield spec.name, values.reshape(shape)
    if binary:
        raise RequestError(f"{len(binary)} bytes after the last binary tensor")


def _parameters(item: dict[str, Any]) -> dict[str, Any]:
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError("`parameters` is not an object")
    return parameters


def _from_json(spec: TensorSpec, data: Any, parameters: dict[str, Any]) -> np.ndarray:
    """Values as they come, flat or nested as their shape."""
    if not isinstance(data, list):
        raise RequestError(f"input {spec.name}: `data` is not a list")
    try:
        values = np.asarray(data, object if spec.datatype == "BYTES" else None).ravel()
    except ValueError:
        raise RequestError(f"input {spec.name}: rows of unequal lengths") from None
    if spec.datatype != "BYTES":
        return values
    # As MLServer has it: JSON holds no bytes.
    in_base64 = parameters.get("content_type") == "base64"
    found = np.empty(len(values), object)
    for k, value in enumerate(values):
        if not isinstance(value, str):
            raise RequestError(f"input {spec.name}: a value is not a string")
        found[k] = from_base64(spec.name, value) if in_base64 else value.encode("utf-8", errors="surrogatepass")
    return found


def _from_binary(spec: TensorSpec, content: memoryview) -> np.ndarray:
    if spec.datatype != "BYTES":
        if len(content) % np.dtype(NUMPY_TYPES[spec.datatype]).itemsize:
            raise RequestError(f"input {spec.name}: {len(content)} bytes are not a whole number of {spec.datatype}")
        return np.frombuffer(content, NUMPY_TYPES[spec.datatype])
    values = []
    while content:
        length = struct.unpack_from("<I", content)[0] if len(content) >= 4 else 2**32
        if length > len(content) - 4:
            raise RequestError(f"input {spec.name}: a length that does not fit its {len(content)} bytes")
        values.append(bytes(content[4 : 4 + length]))
        content = content[4 + length :]
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _wanted(signature: Signature, request: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Names of the outputs asked for, all where none is named, and whether as binary."""
    all_binary = _parameters(request).get("binary_data_output") is True
    outputs = request.get("outputs") or [{"name": name} for name in signature.outputs]
    if not isinstance(outputs, list) or not all(isinstance(item, dict) for item in outputs):
        raise RequestError("`outputs` is not a list of tensors")
    for item in outputs:
        name = item.get("name")
        if not isinstance(name, str) or name not in signature.outputs:
            raise RequestError(f"output {str(name)[:100]}: unknown; there are {', '.join(signature.outputs)}")
        binary = _parameters(item).get("binary_data", all_binary)
        yield name, binary is True


def _to_binary(value: np.ndarray) -> bytes:
    if value.dtype == object:
        return b"".join(struct.pack("<I", len(item)) + item for item in value.ravel())
    return value.astype(value.dtype.newbyteorder("<")).tobytes()
