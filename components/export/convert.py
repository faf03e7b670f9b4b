# SPDX-License-Identifier: Apache-2.0
"""A served model as one file of TensorFlow Lite or ONNX, and a function that runs such a file by its own runtime."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from beam_jobs.errors import UserError
from beam_jobs.mixing import Samples

ONNX_OPSET = 18
OUTPUTS = ("label", "probabilities", "speech")

Run = Callable[[Samples], dict[str, np.ndarray]]
"""float32 [samples] -> `label` [], `probabilities` [classes] and `speech` []."""


def to_tflite(model: Any, facts: Mapping[str, Any]) -> bytes:
    """The portable function of a loaded SavedModel as a TensorFlow Lite file of built-in operators only.

    Args:
        model: what tf.saved_model.load gave.
        facts: not kept: the format has no simple place for them.

    Raises:
        UserError: an operator of the network has no equal there.
    """
    (function,) = model.portable.concrete_functions
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content: bytes = converter.convert()
    except Exception as error:  # its ConverterError is of no public name
        reason = next((line for line in str(error).splitlines() if "error:" in line), str(error))[:300]
        raise UserError(f"the network cannot be converted to TensorFlow Lite ({reason.strip()})") from None
    return content


def to_onnx(model: Any, facts: Mapping[str, Any]) -> bytes:
    """The same as an ONNX file, whose metadata hold `facts`; by way of TensorFlow Lite, which knows a graph of Keras best.

    Raises:
        UserError: an operator of the network has no equal there.
    """
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what it cannot do is found by running the file
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        file.write_bytes(to_tflite(model, facts))
        handlers: dict[str, Any] = {"FloorDiv": (_floor_div, [])}
        try:
            converted, _ = tf2onnx.convert.from_tflite(str(file), opset=ONNX_OPSET, custom_op_handlers=handlers)
        except Exception as error:  # ValueError and others: of a `crnn`, whose LSTM is a loop within a loop
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"the network cannot be converted to ONNX ({reason}); nothing was written") from None
    _name_ports(converted.graph, len(facts["classes"]))
    onnx.helper.set_model_props(converted, {name: _text(value) for name, value in facts.items()})
    return bytes(converted.SerializeToString())


def _name_ports(graph: Any, num_classes: int) -> None:
    """Calls input and outputs what the signature calls them, which TensorFlow Lite orders by name."""
    from onnx import TensorProto
    from onnx.helper import make_node, make_tensor_value_info

    (source,) = graph.input
    graph.node.insert(0, make_node("Identity", ["waveform"], [source.name]))
    source.name = "waveform"
    outputs = sorted(output.name for output in graph.output)
    del graph.output[:]
    ports: tuple[tuple[Any, list[int]], ...] = (
        (TensorProto.INT32, []),
        (TensorProto.FLOAT, [num_classes]),
        (TensorProto.FLOAT, []),
    )
    for output, name, (kind, shape) in zip(outputs, OUTPUTS, ports, strict=True):
        graph.node.append(make_node("Identity", [output], [name]))
        graph.output.append(make_tensor_value_info(name, kind, shape))  # tf2onnx leaves a scalar's shape out


def _floor_div(context: Any, node: Any, *_: Any) -> None:
    """Integers rounded down: tf2onnx rounds them towards zero (onnx/tensorflow-onnx#2174), which makes -(-a // b) wrong."""
    remainder = context.make_node("Mod", node.input, attr={"fmod": 0}, dtypes=[context.get_dtype(node.output[0])])
    whole = context.make_node("Sub", [node.input[0], remainder.output[0]], dtypes=[context.get_dtype(node.output[0])])
    node.type = "Div"
    context.replace_inputs(node, [whole.output[0], node.input[1]])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def run_tflite(content: bytes) -> Run:
    """Opens a TensorFlow Lite file with ai-edge-litert."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    return lambda samples: {name: np.asarray(value) for name, value in runner(waveform=samples).items()}


def run_onnx(content: bytes) -> Run:
    """Opens an ONNX file with onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda samples: dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"waveform": samples}), strict=True))


FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Any, Mapping[str, Any]], bytes], Callable[[bytes], Run]]] = {
    "tflite": (("ai_edge_litert",), to_tflite, run_tflite),
    "onnx": (("onnx", "tf2onnx", "onnxruntime"), to_onnx, run_onnx),
}
"""By format: the packages that it takes, what writes it and what runs it."""


def check_packages(target: str) -> None:
    """Makes sure that what writes and runs a format is there.

    Raises:
        UserError: it is not.
    """
    missing = [name for name in FORMATS[target][0] if find_spec(name) is None]
    if missing:
        raise UserError(
            f"--to {target} needs {' and '.join(missing).replace('_', '-')}; `make setup EXTRAS=export` installs it, or "
            "export.lock beside the wheel"
        )
