# SPDX-License-Identifier: Apache-2.0
"""Serves a SavedModel's signature `wav` in a real Triton: `triton_server.py SAVED_MODEL HTTP_PORT GRPC_PORT METRICS_PORT`.

Runs in an environment of its own, with nvidia-pytriton and TensorFlow and none of this project's code.
"""

import sys

import numpy as np
import tensorflow as tf
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

folder, http_port, grpc_port, metrics_port = sys.argv[1], *map(int, sys.argv[2:])
signature = tf.saved_model.load(folder).signatures["wav"]


def infer(requests):
    return [{name: value.numpy() for name, value in signature(wav=tf.constant(one["wav"])).items()} for one in requests]


outputs = [
    Tensor(name=name, dtype=bytes if spec.dtype == tf.string else np.float32, shape=[size or -1 for size in spec.shape])
    for name, spec in signature.structured_outputs.items()
]
config = TritonConfig(
    http_address="127.0.0.1", http_port=http_port, grpc_address="127.0.0.1", grpc_port=grpc_port,
    metrics_address="127.0.0.1", metrics_port=metrics_port,
)  # fmt: skip
with Triton(config=config) as triton:
    wav = Tensor(name="wav", dtype=bytes, shape=(-1,))
    triton.bind("audio-gender", infer, inputs=[wav], outputs=outputs, config=ModelConfig(batching=False), strict=False)
    triton.serve()
