# SPDX-License-Identifier: Apache-2.0
"""Both protocols, asked as their specifications have it (kserve/open-inference-protocol, TensorFlow's api_rest)."""

import base64
import gzip
import json
import struct

import numpy as np
import pytest
import tensorflow as tf

from components.server.versions import ServedVersion


@pytest.fixture(scope="module")
def expected(saved_models, voices) -> dict[str, np.ndarray]:
    """What the SavedModel answers without any server."""
    answer = tf.saved_model.load(saved_models["trained"]).signatures["wav"](wav=tf.constant(voices))
    return {name: value.numpy() for name, value in answer.items()}


def in_base64(contents: list[bytes]) -> list[dict[str, str]]:
    return [{"b64": base64.b64encode(content).decode()} for content in contents]


def test_columns_and_rows_of_tensorflow_serving(served, voices, expected):
    path = "/v1/models/audio-gender:predict"
    columns = served.ask("POST", path, {"signature_name": "wav", "inputs": {"wav": in_base64(voices)}}).json["outputs"]
    unnamed = served.ask("POST", path, {"signature_name": "wav", "inputs": in_base64(voices)}).json["outputs"]
    rows = served.ask("POST", path, {"signature_name": "wav", "instances": in_base64(voices)}).json["predictions"]
    named = [{"wav": value} for value in in_base64(voices)]
    also = served.ask("POST", "/v1/models/audio-gender/versions/7:predict", {"signature_name": "wav", "instances": named})

    np.testing.assert_allclose(columns["probabilities"], expected["probabilities"], atol=1e-6)
    assert columns["classes"] == [["male", "female"]] * 4 and columns["error"] == [""] * 4
    assert unnamed == columns
    assert [row["probabilities"] for row in rows] == columns["probabilities"]
    assert rows[0].keys() == expected.keys()
    assert also.json["predictions"] == rows


def test_waveforms_of_unequal_lengths(served, make_voice):
    rows = [{"waveform": make_voice(k, k).tolist(), "lengths": 8000 + k} for k in range(2)]
    answer = served.ask("POST", "/v1/models/audio-gender:predict", {"signature_name": "waveforms", "instances": rows})
    assert [row["duration_s"] for row in answer.json["predictions"]] == pytest.approx([1.0, 8001 / 8000])


def test_status_and_metadata_of_tensorflow_serving(served):
    status = served.ask("GET", "/v1/models/audio-gender").json["model_version_status"]
    assert [(one["version"], one["state"]) for one in status] == [("7", "AVAILABLE")]
    found = served.ask("GET", "/v1/models/audio-gender/metadata").json
    assert found["model_spec"] == {"name": "audio-gender", "signature_name": "", "version": "7"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert signatures["wav"]["inputs"]["wav"]["dtype"] == "DT_STRING"
    assert signatures["waveform"]["method_name"] == "tensorflow/serving/predict"


def test_metadata_of_the_open_inference_protocol(served):
    assert served.ask("GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/audio-gender/ready",
        "/v2/models/audio-gender.waveform/ready",
    ):
        assert served.ask("GET", path).status == 200
    found = served.ask("GET", "/v2/models/audio-gender").json
    assert found["versions"] == ["7"] and found["inputs"] == [{"name": "wav", "datatype": "BYTES", "shape": [-1]}]
    assert {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]} in found["outputs"]
    samples = served.ask("GET", "/v2/models/audio-gender.waveforms/versions/7").json["inputs"]
    assert {one["name"]: one["datatype"] for one in samples} == {"waveform": "FP32", "lengths": "INT64"}


def test_json_of_the_open_inference_protocol(served, voices, expected):
    data = [base64.b64encode(voice).decode() for voice in voices]
    tensor = {"name": "wav", "shape": [4], "datatype": "BYTES", "parameters": {"content_type": "base64"}, "data": data}
    answer = served.ask("POST", "/v2/models/audio-gender/infer", {"id": "a1", "inputs": [tensor]}).json
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a1", "audio-gender", "7")
    outputs = {one["name"]: one for one in answer["outputs"]}
    assert outputs["probabilities"]["shape"] == [4, 2]
    np.testing.assert_allclose(outputs["probabilities"]["data"], expected["probabilities"].ravel(), atol=1e-6)
    assert outputs["classes"]["data"] == ["male", "female"] * 4


def test_binary_tensors_in_and_out(served, voices, expected):
    content = b"".join(struct.pack("<I", len(voice)) + voice for voice in voices)
    tensor = {"name": "wav", "shape": [4], "datatype": "BYTES", "parameters": {"binary_data_size": len(content)}}
    outputs = [{"name": "classes"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    answer = served.ask("POST", "/v2/models/audio-gender/infer", head + content, Inference_Header_Content_Length=str(len(head)))
    size = int(answer.headers["Inference-Header-Content-Length"])
    classes, probabilities = json.loads(answer.body[:size])["outputs"]
    assert classes["data"] == ["male", "female"] * 4
    assert probabilities["parameters"]["binary_data_size"] == 32 == len(answer.body) - size
    np.testing.assert_allclose(np.frombuffer(answer.body[size:], "<f4"), expected["probabilities"].ravel(), atol=1e-6)


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_a_waveform_as_json(served, make_voice, nested):
    samples = np.stack([make_voice(0, 1), make_voice(1, 2)])
    data = (samples if nested else samples.ravel()).tolist()
    tensor = {"name": "waveform", "shape": list(samples.shape), "datatype": "FP32", "data": data}
    answer = served.ask("POST", "/v2/models/audio-gender.waveform/infer", {"inputs": [tensor]}).json
    found = {one["name"]: one["data"] for one in answer["outputs"]}
    version: ServedVersion = served.server.versions.current
    same = version.model.signatures["waveform"](tf.constant(samples))
    np.testing.assert_allclose(found["probabilities"], same["probabilities"].numpy().ravel(), atol=1e-6)


def test_a_compressed_request(served, voices, expected):
    body = gzip.compress(json.dumps({"signature_name": "wav", "instances": in_base64(voices)}).encode())
    answer = served.ask("POST", "/v1/models/audio-gender:predict", body, Content_Encoding="gzip")
    np.testing.assert_allclose([row["probabilities"] for row in answer.json["predictions"]], expected["probabilities"], atol=1e-6)


def test_the_figures_know_each_route(served, voices):
    before = served.figure('audio_gender_requests_total{path="/analyse",status="200"}')
    assert served.ask("POST", "/analyse?name=voice.wav", voices[0]).status == 200
    assert served.figure('audio_gender_requests_total{path="/analyse",status="200"}') == before + 1
    assert served.figure("audio_gender_model_version") == 7
    for word in ("a", "b", "c"):
        assert served.ask("GET", f"/nowhere/{word}").status == 404
    assert "nowhere" not in served.ask("GET", "/metrics").body.decode()
