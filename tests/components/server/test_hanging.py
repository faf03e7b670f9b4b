# SPDX-License-Identifier: Apache-2.0
"""A model that hangs: its requests end in time, it goes out by itself, and it keeps no worker, no processor and no memory."""

import base64
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf
from running_server import Running, running, serve
from small_models import FILES, POISON, Maker, answers, ask, on_trial, place_model, push_model, wait

from components.pusher.serving_folder import read_provenance, versions
from components.pusher.trials import candidate, fate
from components.server import trial
from components.server import versions as served_versions
from components.server.deadline import deadline

TIMEOUT_S = 2.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other version answers after a second in place of the new one."""
    monkeypatch.setattr(trial, "HANGS_S", 1.0)


def when(condition: Callable[[], bool]) -> threading.Event:
    happened = threading.Event()

    def watch() -> None:
        wait(condition, 60)
        happened.set()

    threading.Thread(target=watch).start()
    return happened


def ask_all(server: Running, ended: threading.Event | None = None) -> list[float]:
    """Asks from four clients until it ends; how long each took. Every answer is 200."""

    def client(number: int) -> list[float]:
        taken = []
        for turn in range(40):
            if ended and ended.is_set():
                break
            started = time.monotonic()
            ask(server, FILES[(40 * number + turn) % len(FILES)])
            taken.append(time.monotonic() - started)
        return taken

    with ThreadPoolExecutor(4) as clients:
        return [seconds for found in clients.map(client, range(4)) for seconds in found]


@pytest.mark.parametrize("settings", [{"share": 0.5}, {"share": 1.0, "shadow": True}], ids=["answering", "in shadow"])
def test_a_candidate_that_hangs_is_rolled_back_and_every_client_is_answered(small: Maker, tmp_path: Path, settings: dict) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        bad = place_model(small("hanging"), tmp_path, {"canary": {"requests": 30, **settings}})
        wait(lambda: on_trial(server) == bad)
        decided = when(lambda: fate(tmp_path, bad) is not None)

        taken = ask_all(server, decided)

        assert decided.wait(30)
        assert max(taken) < server.server.config.timeout_s / 2  # for which they would wait without HANGS_S
        assert answers(server) == old and candidate(tmp_path) is None
    # At three it is decided; what was on its way, to a comparison too, may fail meanwhile.
    assert re.fullmatch(r"\d+ requests failed \(no answer within 1 s\)", fate(tmp_path, bad).why)


def test_a_new_version_that_hangs_is_rolled_back_and_every_client_is_answered(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        bad = push_model(small("hanging"), tmp_path, {"rollback": {"requests": 60}})
        wait(lambda: answers(server) == bad)
        decided = when(lambda: len(versions(tmp_path)) == 3)

        ask_all(server, decided)

        assert decided.wait(30)
        wait(lambda: answers(server) == versions(tmp_path)[-1])
        failed_over = server.figure("audio_gender_failed_over_total")
        assert ask(server, FILES[0]) == str(versions(tmp_path)[-1])  # and the one that hangs is not asked first
        assert server.figure("audio_gender_failed_over_total") == failed_over
    assert "requests failed (no answer within 1 s)" in read_provenance(tmp_path, versions(tmp_path)[-1]).note


@pytest.mark.slow
def test_what_both_versions_hang_on_is_no_fault_of_the_new_one(small: Maker, tmp_path: Path) -> None:
    push_model(small("hanging on poison"), tmp_path)
    with running(tmp_path, poll_s=0.1, timeout_s=3) as server:
        new = push_model(small("hanging on poison"), tmp_path, {"rollback": {"requests": 60}})
        wait(lambda: answers(server) == new)
        for number in range(6):
            ask(server, POISON, status=504)
            ask(server, FILES[number])
        assert answers(server) == new and versions(tmp_path)[-1] == new
        assert server.server.versions.trial.tally.failures == 0


@pytest.mark.slow
def test_without_a_trial_a_hanging_request_is_504_and_then_keeps_nothing(small: Maker, tmp_path: Path) -> None:
    push_model(small("hanging on poison"), tmp_path)
    with serve(tmp_path, f"--timeout-s={TIMEOUT_S}", "--workers=2") as (process, server):
        padding = base64.b64encode(os.urandom(4 * 2**20)).decode()
        body = {"signature_name": "wav", "inputs": {"wav": [{"b64": POISON}, {"b64": padding}]}}

        def hang(_: int) -> int:
            answer = server.ask("POST", "/v1/models/audio-gender:predict", body)
            assert "not answered within 2 s" in answer.error
            return answer.status

        for turn in range(6):
            with ThreadPoolExecutor(2) as clients:
                assert list(clients.map(hang, range(2))) == [504, 504]
            wait(lambda: server.figure("audio_gender_answering") == 0, 30)  # both workers are free again
            assert ask(server, FILES[turn])
            if turn == 1:
                held = process.memory_info().rss
        assert server.figure("audio_gender_answering") == 0
        assert process.memory_info().rss - held < 60 * 2**20

        def rests() -> bool:
            used = sum(process.cpu_times()[:2])
            time.sleep(1)
            return sum(process.cpu_times()[:2]) - used < 0.25

        wait(rests, 30)  # what spins never does, however little of a busy processor it gets


def test_the_end_of_one_call_is_not_that_of_another_in_another_thread(small: Maker) -> None:
    ask_it = tf.saved_model.load(str(small("hanging on poison"))).signatures["wav"]
    ended = []

    def hang(seconds: float) -> None:
        with deadline(seconds):
            try:
                ask_it(wav=tf.constant([b"poison"]))
            finally:
                ended.append(seconds)

    with ThreadPoolExecutor(3) as threads:
        hung = [threads.submit(hang, seconds) for seconds in (3.0, 0.5)]
        time.sleep(0.2)
        fine = threads.submit(lambda: [ask_it(wav=tf.constant([b"fine"])) for _ in range(500)])
        assert len(fine.result()) == 500
        assert all(isinstance(one.exception(), TimeoutError) for one in hung)
    assert ended == [0.5, 3.0]


def test_a_call_that_fails_is_not_called_late(small: Maker) -> None:
    ask_it = tf.saved_model.load(str(small("failing"))).signatures["wav"]
    for _ in range(100):  # TensorFlow cancels the manager of a call that fails, most times before the error is raised
        with pytest.raises(tf.errors.InvalidArgumentError, match="out of memory"), deadline(60):
            ask_it(wav=tf.constant([b"any"]))


def test_others_are_answered_while_one_hangs(small: Maker, tmp_path: Path) -> None:
    push_model(small("hanging on poison"), tmp_path)
    with running(tmp_path, poll_s=0.1, timeout_s=5, workers=2) as server, ThreadPoolExecutor(1) as client:
        hung = client.submit(ask, server, POISON, 504)
        wait(lambda: server.figure("audio_gender_answering") == 1)
        answered = 0
        while not hung.done():
            ask(server, FILES[answered % len(FILES)])
            answered += 1
        assert answered > 5  # one that waits for the other is all that there would be
        hung.result()


@pytest.mark.parametrize("kind", ["hanging at once", "endless"])
def test_a_version_that_hangs_at_its_first_request_is_not_taken_up(
    small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        with monkeypatch.context() as impatient:  # with this one alone: a busy machine may need longer for a healthy one
            impatient.setattr(served_versions, "WARM_UP_S", 2.0)
            bad = push_model(small(kind), tmp_path)
            wait(lambda: f"version {bad} is refused: no answer within 2 s" in caplog.text, 60)  # said after it is counted
        assert server.figure("audio_gender_versions_refused_total") == 1
        assert answers(server) == old
        new = push_model(small(), tmp_path)  # and the folder is looked at all the same
        wait(lambda: answers(server) == new)
