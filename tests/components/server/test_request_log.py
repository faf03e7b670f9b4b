# SPDX-License-Identifier: Apache-2.0
"""What a server keeps of requests: figures and no sound, bounded, whole after a kill, and answers that do not change by it."""

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from running_server import Running, put, running
from small_models import place_model, push_model, wait

from beam_jobs.examples import RecordError
from components.server import request_log
from components.server.config import LogConfig
from components.watch.records import CANARY, Record, read_file

ALL = frozenset({"measures", "mel", "embedding"})


def records(folder: Path) -> list[Record]:
    found = [record for path in sorted(folder.glob("*.tfrecord")) for record in read_file(str(path))]
    assert not any(isinstance(record, RecordError) for record in found)
    return [record for record in found if isinstance(record, Record) and record.path != CANARY]


def wait_for(folder: Path, number: int) -> list[Record]:
    wait(lambda: len(records(folder)) >= number)
    return records(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("request log") / "log"


@pytest.fixture(scope="module")
def logged(saved_models: dict[str, str], folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    serving = tmp_path_factory.mktemp("serving with a log")
    put(saved_models["trained"], serving, 7)
    with running(serving, poll_s=0.2, log=LogConfig(folder, share=1.0)) as found:
        yield found
        found.server.log.close()


def infer(server: Running, content: bytes) -> dict:
    body = (
        json.dumps(
            {"inputs": [{"name": "wav", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(content) + 4}}]}
        ).encode(),
        len(content).to_bytes(4, "little") + content,
    )
    answer = server.ask(
        "POST", "/v2/models/audio-gender/infer", b"".join(body), Inference_Header_Content_Length=str(len(body[0]))
    )
    assert answer.status == 200, answer.body
    return {output["name"]: output["data"] for output in answer.json["outputs"]}


def test_a_request_is_kept_as_figures_and_answered_as_ever(
    logged: Running, served: Running, voices: list[bytes], folder: Path
) -> None:
    before = len(records(folder))

    answers = [infer(logged, voice) for voice in voices]

    assert answers == [infer(served, voice) for voice in voices]  # those of a server that keeps nothing
    kept = wait_for(folder, before + 4)[before:]
    assert {(record.version, record.path, record.error) for record in kept} == {(7, "/v2/models/{model}/infer", "")}
    for record, answer in zip(kept, answers, strict=True):
        assert abs(record.time_s - time.time()) < 60
        assert record.probabilities.tolist() == pytest.approx(answer["probabilities"], abs=1e-6)
        assert (record.label, record.speech, record.duration_s) == (answer["label"][0], answer["speech"][0], 1.5)
        assert record.mel.any() and record.embedding.any() and record.band_hz > 500


def test_the_server_hears_its_canary_as_the_training_did(logged: Running, voices: list[bytes], folder: Path) -> None:
    before = len(records(folder))
    infer(logged, voices[0])
    wait_for(folder, before + 1)  # the next test counts what is there

    def canaries() -> list[Record]:
        everything = [record for path in folder.glob("*.tfrecord") for record in read_file(str(path))]
        return [record for record in everything if isinstance(record, Record) and record.path == CANARY]

    wait(lambda: bool(canaries()))
    (canary,) = canaries()  # once a version and ten minutes
    assert canary.version == 7 and canary.mel.any()
    assert logged.figure("audio_gender_skew") < 1e-5


@pytest.mark.slow
def test_during_a_trial_each_version_hears_its_canary_once_and_not_whenever_the_other_answered(
    saved_models: dict[str, str], voices: list[bytes], tmp_path: Path
) -> None:
    serving, log = tmp_path / "serving", tmp_path / "log"
    old = push_model(Path(saved_models["trained"]), serving)
    new = place_model(Path(saved_models["trained"]), serving, {"canary": {"share": 0.5, "requests": 1000}})
    with running(serving, poll_s=0.2, log=LogConfig(log, share=1.0)) as server:
        wait(lambda: server.figure("audio_gender_canary_version") == new)
        for number in range(24):  # other bytes behind the sound make it another request
            assert server.ask("POST", "/analyse", voices[0] + bytes([number])).status == 200
        answered = [record.version for record in wait_for(log, 24)]
        server.server.log.close()

    assert set(answered) == {old, new}
    found = [record for path in log.glob("*.tfrecord") for record in read_file(str(path))]
    canaries = [record.version for record in found if isinstance(record, Record) and record.path == CANARY]
    assert sorted(canaries) == [old, new]


def test_the_level_and_clipping_are_those_of_the_file(logged: Running, voices: list[bytes], folder: Path) -> None:
    samples, rate_hz = soundfile.read(io.BytesIO(voices[0]), dtype="float32")
    clipped = np.clip(samples, *np.quantile(np.abs(samples), 0.9) * np.array([-1, 1]))
    before = len(records(folder))

    for sound in (samples, samples / 8, clipped):
        file = io.BytesIO()
        soundfile.write(file, sound, rate_hz, format="WAV", subtype="FLOAT")
        infer(logged, file.getvalue())

    whole, quiet, cut = wait_for(folder, before + 3)[before:]
    assert whole.level_dbfs == pytest.approx(20 * np.log10(np.sqrt(np.mean(samples**2))), abs=0.05)
    assert whole.level_dbfs - quiet.level_dbfs == pytest.approx(20 * np.log10(8), abs=0.01)
    assert whole.clipping == pytest.approx(quiet.clipping) and whole.clipping < 0.02
    assert cut.clipping > 0.08


def test_the_page_and_both_protocols_are_kept_and_plain_tensorflow_reads_it(
    logged: Running, voices: list[bytes], folder: Path
) -> None:
    before = len(records(folder))

    assert logged.ask("POST", "/analyse?name=a.wav", voices[0]).status == 200
    row = {"b64": __import__("base64").b64encode(voices[1]).decode()}
    asked = {"signature_name": "wav", "instances": [row, row]}
    assert logged.ask("POST", "/v1/models/audio-gender:predict", asked).status == 200

    kept = wait_for(folder, before + 3)[before:]
    assert [record.path for record in kept] == ["/analyse", *["/v1/models/{model}:predict"] * 2]
    assert b"keeps figures about some recordings, and none of their sound" in logged.ask("GET", "/").body
    raw = [
        tf.train.Example.FromString(item)
        for path in folder.glob("*")
        for item in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    assert not any(example.features.feature["audio"].bytes_list.value[0] for example in raw)
    assert {oct(path.stat().st_mode & 0o777) for path in folder.glob("*")} == {"0o600"}
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\dZ-[0-9a-f]{12}\.tfrecord", path.name) for path in folder.glob("*"))


def test_sound_is_kept_where_the_operator_says_so_and_fields_are_left_out(
    serving: Path, voices: list[bytes], tmp_path: Path
) -> None:
    with running(serving, log=LogConfig(tmp_path / "log", 1.0, frozenset({"audio", "measures"}))) as server:
        infer(server, voices[0])
        (kept,) = wait_for(tmp_path / "log", 1)
        page = server.ask("GET", "/").body
        server.server.log.close()

    heard, rate_hz = soundfile.read(io.BytesIO(kept.audio))
    sent, _ = soundfile.read(io.BytesIO(voices[0]))
    assert rate_hz == 8000 and np.abs(heard - sent).max() < 1e-4
    assert not len(kept.mel) and not len(kept.embedding) and kept.band_hz
    assert b"keeps some of the recordings" in page and b"keeps nothing" not in page


def test_the_oldest_goes_when_it_is_too_old_or_there_is_too_much(serving: Path, voices: list[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    hours = [time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() - 3600 * back)) for back in (100, 20, 10, 2, -48)]
    for hour in hours:
        (folder / f"{hour}Z-0.tfrecord").write_bytes(bytes(400_000))
    (folder / "notes.txt").write_text("not ours")

    with running(serving, log=LogConfig(folder, 1.0, ALL, days=3.0, max_mb=1)) as server:
        infer(server, voices[0])
        wait(lambda: server.figure("audio_gender_log_records_total") > 0)
        server.server.log.close()

    left = sorted(path.name for path in folder.iterdir())
    assert f"{hours[0]}Z-0.tfrecord" not in left  # too old
    assert f"{hours[1]}Z-0.tfrecord" not in left  # the oldest of what is too much
    assert f"{hours[4]}Z-0.tfrecord" not in left  # of a clock that was wrong: it would outlast all others
    assert {f"{hours[2]}Z-0.tfrecord", f"{hours[3]}Z-0.tfrecord", "notes.txt"} < set(left)


def test_a_full_disk_costs_records_and_no_answer(
    serving: Path, voices: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # /dev/full is the kernel's own full disk.
    real = os.open
    with running(serving, log=LogConfig(tmp_path / "log", 1.0)) as server:
        monkeypatch.setattr(
            request_log.os,
            "open",
            lambda path, *rest: real("/dev/full", os.O_WRONLY) if "log" in str(path) else real(path, *rest),
        )
        assert infer(server, voices[0])["error"] == [""]
        wait(lambda: server.figure('audio_gender_log_records_total{outcome="failed"}') >= 1)
        monkeypatch.undo()
        infer(server, voices[1])
        wait_for(tmp_path / "log", 1)
        server.server.log.close()


def test_a_killed_server_leaves_every_record_but_the_last_whole(serving: Path, voices: list[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "log"
    command = [sys.executable, "-m", "pipeline", "serve", "--serving", str(serving), "--port", "0"]
    command += ["--log", str(folder), "--log-share", "1"]

    def found() -> list[Record | RecordError]:
        return [item for path in sorted(folder.glob("*.tfrecord")) for item in read_file(str(path))]

    def analysed() -> list[Record]:
        return [item for item in found() if isinstance(item, Record) and item.path == "/analyse"]

    before = 0
    for round_ in (1, 2):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        said = ""
        while "serving" not in said or "http://" not in said:
            said = process.stderr.readline()
            assert said, "the server ended"
        port = int(re.search(r":(\d+)/", said)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        answered = 0
        for k in range(12):
            connection.request("POST", "/analyse?name=a.wav", voices[k % 4])
            assert connection.getresponse().read()
            answered += 1
            if k == 8:
                wait(lambda written=before + 9: len(analysed()) >= written)  # what is gathered is written
        process.send_signal(signal.SIGKILL)  # with the last ones still in hand
        process.wait()
        process.stderr.close()
        assert round_ * answered - 3 * round_ <= len(analysed()) <= round_ * answered
        assert sum(isinstance(item, RecordError) for item in found()) <= round_
        before = len(analysed())


def test_fields_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "serve", "--log", str(tmp_path), "--log-fields", "measures,voice"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "--log-fields voice: unknown; there are measures, mel, embedding, audio" in done.stderr
