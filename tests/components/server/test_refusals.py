# SPDX-License-Identifier: Apache-2.0
"""Requests that are wrong, hostile or too much: 4xx with one line, never a fault of the server, and the next is answered."""

import base64
import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

V1, V2 = "/v1/models/audio-gender:predict", "/v2/models/audio-gender/infer"
WAVEFORMS = "/v2/models/audio-gender.waveforms/infer"


def tensor(**changes):
    return {"inputs": [{"name": "wav", "shape": [1], "datatype": "BYTES", "data": ["x"], **changes}]}


def samples(**changes):
    lengths = {"name": "lengths", "shape": [1], "datatype": "INT64", "data": [2]}
    return {"inputs": [{"name": "waveform", "shape": [1, 2], "datatype": "FP32", "data": [0, 1], **changes}, lengths]}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (V1, b"", "not valid JSON"),
        (V1, b"\xff\xfe", "not valid JSON"),
        (V1, b"[" * 100_000, "nested too deeply"),
        (V1, b"1" * 10_000, "not valid JSON"),
        (V1, [], "not a JSON object"),
        (V1, {}, "`instances`"),
        (V1, {"instances": [], "inputs": []}, "`instances`"),
        (V1, {"instances": [], "signature_name": "wav"}, "rows"),
        (V1, {"instances": ["x"] * 1025, "signature_name": "wav"}, "1025 rows"),
        (V1, {"instances": [1], "signature_name": "wav"}, "neither a string nor"),
        (V1, {"instances": [{"b64": "!"}], "signature_name": "wav"}, "base64"),
        (V1, {"instances": [{"b64": 1}], "signature_name": "wav"}, "base64"),
        (V1, {"instances": [{"other": "x"}], "signature_name": "wav"}, "unknown"),
        (V1, {"instances": [{}], "signature_name": "wav"}, "missing"),
        (V1, {"instances": ["x"], "signature_name": ["wav"]}, "signature_name"),
        (V1, {"instances": ["x"], "signature_name": "../wav"}, "signature_name"),
        (V1, {"inputs": {"waveform": [[0.0], [0.0, 1.0]]}, "signature_name": "waveform"}, "unequal lengths"),
        (V1, {"inputs": {"waveform": [["0.5"]]}, "signature_name": "waveform"}, "not numbers"),
        (V1, {"inputs": {"waveform": [[True]]}, "signature_name": "waveform"}, "not numbers"),
        (V1, {"inputs": {"waveform": [[None]]}, "signature_name": "waveform"}, "not numbers"),
        (V1, {"inputs": {"waveform": 0.5}, "signature_name": "waveform"}, "shape []"),
        (V1, {"inputs": {"waveform": [[0.5]], "lengths": [1.5]}, "signature_name": "waveforms"}, "whole numbers"),
        (V1, {"inputs": {"waveform": [[0.5]], "lengths": [10**30]}, "signature_name": "waveforms"}, "whole numbers"),
        (V1, {"inputs": {"waveform": [[0.5]], "lengths": [1, 1]}, "signature_name": "waveforms"}, "unequal batch sizes"),
        (V2, {}, "list of tensors"),
        (V2, {"inputs": []}, "missing"),
        (V2, {"inputs": ["wav"]}, "list of tensors"),
        (V2, tensor(name="other"), "unknown"),
        (V2, tensor(datatype="FP32"), "datatype"),
        (V2, tensor(shape=[2]), "1 values"),
        (V2, tensor(shape=[-1]), "list of sizes"),
        (V2, tensor(shape=[1] * 70), "list of sizes"),
        (V2, tensor(shape=[1, 1]), "shape [1, 1]"),
        (V2, tensor(shape=["1"]), "list of sizes"),
        (V2, tensor(data="x"), "not a list"),
        (V2, tensor(data=[1]), "not a string"),
        (V2, tensor(data=["é"], parameters={"content_type": "base64"}), "base64"),
        (V2, tensor(parameters=[]), "`parameters`"),
        (V2, tensor(parameters={"binary_data_size": 5}), "binary_data_size"),
        (V2, tensor(parameters={"binary_data_size": -1}), "binary_data_size"),
        (V2, tensor() | {"outputs": [{"name": "other"}]}, "unknown"),
        (V2, tensor() | {"outputs": "probabilities"}, "list of tensors"),
        (WAVEFORMS, samples(data=[[0], [1, 2]]), "unequal lengths"),
        (WAVEFORMS, samples(data=["0", "1"]), "not numbers"),
        (WAVEFORMS, samples(name="lengths"), "datatype"),
    ],
)
def test_a_wrong_request_is_one_line(served, path, body, said):
    answer = served.ask("POST", path, body)
    assert answer.status == 400, answer
    assert said in answer.error


@pytest.mark.parametrize(
    ("content", "size", "said"),
    [
        (b"\x05\0\0\0abc", 7, "does not fit"),
        (b"\xff\xff\xff\xffabc", 7, "does not fit"),
        (b"ab", 2, "does not fit"),
        (b"\x01\0\0\0ab", 5, "after the last"),
    ],
)
def test_damaged_binary_tensors(served, content, size, said):
    head = json.dumps(tensor(parameters={"binary_data_size": size})).encode()
    answer = served.ask("POST", V2, head + content, Inference_Header_Content_Length=str(len(head)))
    assert answer.status == 400 and said in answer.error


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "1" * 5000, "²"])
def test_a_damaged_header_length(served, length):
    answer = served.ask("POST", V2, b"{}", Inference_Header_Content_Length=length.encode())
    assert answer.status == 400, answer


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/..%2F..%2Fetc%2Fpasswd", "/v1/models/audio-gender/versions/6", "/v1/models/audio-gender/versions/..%2F7",
        "/v2/models/other", "/v2/models/audio-gender.other", "/v2/models/audio-gender/versions/07", "/../../etc/passwd",
        "/page.html", "/static/../page.html", "//etc/passwd", "/v2/models/%00", "/v2/models/" + "x" * 5000,
    ],
)  # fmt: skip
def test_what_is_not_there_is_404(served, path):
    answer = served.ask("GET", path)
    assert answer.status == 404 and answer.error


def test_other_methods(served):
    assert served.ask("DELETE", V2).status == 405
    assert served.ask("GET", "/analyse").status == 405


def test_a_page_of_another_name_cannot_ask(served):
    assert served.ask("GET", "/v2", Host="evil.example").status == 403
    assert served.ask("GET", "/v2", Host="localhost:1").status == 200
    assert served.ask("GET", "/v2", Host="[::1]:1").status == 200


def flac_of_silence(seconds: int, sample_rate_hz: int, channels: int) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", sample_rate_hz, channels, "PCM_16", format="FLAC") as out:
        for _ in range(seconds):
            out.write(np.zeros((sample_rate_hz, channels), np.int16))
    return file.getvalue()


def test_a_bomb_of_silence_is_too_long(served):
    content = flac_of_silence(14_500, 4000, 1)
    assert len(content) < 200_000
    answer = served.ask("POST", "/analyse?name=bomb.flac", content)
    assert answer.status == 400 and answer.error == "longer than 14400 s"


def test_a_bomb_of_channels_costs_what_it_holds_in_mono(served):
    def peak_mb() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    content = flac_of_silence(60, 96_000, 8)
    before = peak_mb()
    assert served.ask("POST", "/analyse?name=bomb.flac", content).json["label"] == "no speech"
    # All channels of a minute at once are 184 MB as float32, and were there twice; mono is 23 MB.
    assert peak_mb() - before < 150


@pytest.mark.parametrize("rate_hz", [1, 200_000])
def test_a_wav_of_a_rate_that_nobody_records_at(served, rate_hz):
    content = b"RIFF" + struct.pack("<I", 12_036) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    content += b"data" + struct.pack("<I", 12_000) + bytes(12_000)
    assert f"sample rate {rate_hz} Hz" in served.ask("POST", "/analyse", content).error
    row = {"b64": base64.b64encode(content).decode()}
    answer = served.ask("POST", V1, {"signature_name": "wav", "instances": [row]})
    assert f"sample rate {rate_hz} Hz" in answer.json["predictions"][0]["error"]


NAMES = st.sampled_from(
    [
        "inputs",
        "instances",
        "signature_name",
        "outputs",
        "name",
        "shape",
        "datatype",
        "data",
        "parameters",
        "wav",
        "b64",
        "lengths",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.dictionaries(NAMES, JSON, max_size=5), path=st.sampled_from([V1, V2, WAVEFORMS]))
def test_no_json_is_a_fault_of_the_server(served, body, path):
    assert served.ask("POST", path, body).status in (200, 400)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(max_size=300), path=st.sampled_from([V1, V2, "/analyse", "/analyse?name=a.m4a"]))
def test_no_bytes_are_a_fault_of_the_server(served, body, path):
    assert served.ask("POST", path, body).status in (200, 400)
