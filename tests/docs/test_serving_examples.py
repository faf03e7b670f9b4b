# SPDX-License-Identifier: Apache-2.0
"""The clients that docs/serving.md shows, run as they stand: in Python, over REST by curl, and over gRPC."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import soundfile
import tensorflow as tf
from processes import free_port
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
CLASSES = r"b?'male',? b?'female'"


def block(language: str, containing: str) -> str:
    """The only code block with these words."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (found,) = [code for name, code in blocks if name == language and containing in code]
    return found


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """TensorFlow Serving's service, of one model: its own definitions around the signatures of a SavedModel."""

    def __init__(self, folder: Path) -> None:
        """Loads it."""
        self.signatures = tf.saved_model.load(str(folder)).signatures

    def Predict(self, request, context):  # noqa: N802 (gRPC's name)
        """What a signature answers."""
        if request.model_spec.name != "audio-gender":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        answer = predict_pb2.PredictResponse()
        for name, value in self.signatures[request.model_spec.signature_name](**inputs).items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return answer


@pytest.fixture
def here(trained, tmp_path: Path, make_tone) -> Path:
    """A folder with what the examples name: `voice.wav` and `work/serving`."""
    soundfile.write(tmp_path / "voice.wav", make_tone(120, 2.0), 16_000)
    shutil.copytree(trained.serving_model_dir, tmp_path / "work/serving/7")
    return tmp_path


@pytest.fixture
def port(here: Path) -> Iterator[int]:
    """Of a server of that folder."""
    number = free_port()
    command = [sys.executable, "-m", "pipeline", "serve", "--serving", str(here / "work/serving"), "--port", str(number)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as server:
        try:
            ready = ["curl", "-sf", "--retry", "300", "--retry-delay", "1", "--retry-connrefused"]
            subprocess.run([*ready, f"localhost:{number}/v2/health/ready"], check=True, stdout=subprocess.DEVNULL)
            yield number
        finally:
            server.terminate()


def run(command: list[str], folder: Path) -> str:
    """What it prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_in_python(here: Path) -> None:
    assert re.search(CLASSES, run([sys.executable, "-c", block("python", "saved_model.load")], here))


def test_over_rest(here: Path, port: int) -> None:
    for containing in ("v1/models/audio-gender:predict", "v2/models/audio-gender/infer", "/analyse?name="):
        shell = block("", containing).replace("localhost:8501", f"localhost:{port}")
        # The server of the page's block is the one that runs here already.
        commands = re.sub(r"^audio-gender serve .*\n", "", shell.replace("voice.flac", "voice.wav"))
        assert '"probabilities"' in run(
            ["bash", "-euo", "pipefail", "-c", commands.replace("curl ", "curl -sS --fail-with-body ")], here
        )


def test_over_grpc(here: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(here / "work/serving/7"), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        code = block("python", "PredictRequest").replace("localhost:8500", f"127.0.0.1:{port}")
        assert re.fullmatch(r"\[b'(fe)?male'\] \[\[\S+ +\S+\]\]\n", run([sys.executable, "-c", code], here))
    finally:
        server.stop(None)
