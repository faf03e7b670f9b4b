# SPDX-License-Identifier: Apache-2.0
"""Requests that take a good part of the time allowed, while a version is on trial: a long recording is no version that hangs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf
from running_server import Running, running
from small_models import FILES, Maker, answers, ask, on_trial, place_model, push_model, wait

from components.pusher.serving_folder import read_provenance, versions
from components.pusher.trials import candidate, fate
from components.server import trial
from components.server.versions import ServedVersion

CANARY = {"canary": {"share": 1.0, "requests": 20}}
SHADOW = {"canary": {"share": 1.0, "requests": 20, "shadow": True}}


def ask_until_decided(server: Running, bound: int) -> int:
    """Two clients ask until the trial ends; every answer is 200. How many requests that took, of at most `bound`."""
    lock, asked = threading.Lock(), iter(range(bound))

    def client(_: int) -> int:
        done = 0
        while server.server.versions.trial:
            with lock:
                file = next(asked, None)
            if file is None:
                break
            ask(server, FILES[file])
            done += 1
        return done

    with ThreadPoolExecutor(2) as clients:
        return sum(clients.map(client, range(2)))


def test_a_version_that_hangs_where_the_one_before_is_slow_is_rolled_back(small: Maker, tmp_path: Path) -> None:
    push_model(small("taking 0.4 s"), tmp_path)
    with running(tmp_path, poll_s=0.1, timeout_s=2, workers=2) as server:
        bad = push_model(small("hanging"), tmp_path, {"rollback": {"requests": 20}})
        wait(lambda: answers(server) == bad)
        ask_until_decided(server, 40)
        wait(lambda: len(versions(tmp_path)) == 3)
    assert "requests failed (no answer within 2 s)" in read_provenance(tmp_path, versions(tmp_path)[-1]).note


@pytest.mark.parametrize("settings", [CANARY, pytest.param(SHADOW, marks=pytest.mark.slow)], ids=["answering", "in shadow"])
def test_a_candidate_that_hangs_where_the_other_version_is_slow_is_decided(small: Maker, tmp_path: Path, settings: dict) -> None:
    old = push_model(small("taking 0.4 s"), tmp_path)
    with running(tmp_path, poll_s=0.1, timeout_s=2, workers=2) as server:
        bad = place_model(small("hanging"), tmp_path, settings)
        wait(lambda: on_trial(server) == bad)
        ask_until_decided(server, 40)
        wait(lambda: candidate(tmp_path) is None)
        assert answers(server) == old
    assert "requests failed (no answer within 2 s)" in fate(tmp_path, bad).why


@pytest.mark.parametrize(
    "settings", [{"rollback": {"requests": 20}}, pytest.param(CANARY, marks=pytest.mark.slow)], ids=["in serving", "a candidate"]
)
def test_a_healthy_request_of_more_than_half_the_time_allowed_is_answered_as_without_a_trial(
    small: Maker, tmp_path: Path, settings: dict
) -> None:
    push_model(small("taking 1.7 s"), tmp_path)
    with running(tmp_path, poll_s=0.1, timeout_s=2.5, workers=2) as server:
        ask(server, FILES[0])
        if "rollback" in settings:
            new = push_model(small("taking 1.7 s"), tmp_path, settings)
            wait(lambda: answers(server) == new)
        else:
            new = place_model(small("taking 1.7 s"), tmp_path, settings)
            wait(lambda: on_trial(server) == new)

        ask(server, FILES[0])  # by the one before, after half of the time allowed
        assert server.figure("audio_gender_failed_over_total") == 1
        assert ask(server, FILES[1]) == str(new)  # which is now known to take so long, and is not given up
        assert server.figure("audio_gender_failed_over_total") == 1
        assert server.server.versions.trial.tally.failures == 0


def test_what_neither_version_answers_in_time_is_still_504(small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "HANGS_S", 0.3)
    push_model(small("taking 9 s"), tmp_path)
    with running(tmp_path, poll_s=0.1, timeout_s=1) as server:
        new = push_model(small("hanging"), tmp_path, {"rollback": {"requests": 20}})
        wait(lambda: answers(server) == new)
        started = time.monotonic()
        ask(server, FILES[0], 504)
        assert time.monotonic() - started < 9
        assert server.server.versions.trial.tally.failures == 0


def test_requests_that_wait_while_a_hanging_version_is_found_out_do_not_ask_it(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1, timeout_s=30, workers=2) as server:
        bad = push_model(small("hanging"), tmp_path, {"rollback": {"requests": 20}})
        wait(lambda: answers(server) == bad)
        server.server.versions.trial.hangs_s = 0.5
        with ThreadPoolExecutor(40) as clients:
            list(clients.map(lambda file: ask(server, file), FILES[:40]))
        assert server.figure("audio_gender_failed_over_total") <= 10  # three that count, and those that were too soon to tell
        wait(lambda: len(versions(tmp_path)) == 3)


def test_a_long_recording_waits_for_a_version_that_hangs_once_and_not_for_each_piece(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1, timeout_s=2) as server:
        bad = push_model(small("hanging"), tmp_path, {"rollback": {"requests": 20}})
        wait(lambda: answers(server) == bad)
        on = server.server.versions.trial
        started = time.monotonic()
        trial.ask_one(ask_in_pieces([b"one", b"two", b"three", b"four"]), on.watching(on.new, b"a recording"))
        assert 1 < time.monotonic() - started < 4
        assert (on.tally.asked, on.tally.failures) == (1, 1)


def test_a_version_that_fails_in_the_middle_of_a_long_recording_has_no_part_in_its_answer(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = push_model(small("poisoned"), tmp_path, {"rollback": {"requests": 20}})
        wait(lambda: answers(server) == new)
        on = server.server.versions.trial
        asked = ask_in_pieces([b"one", b"poison", b"three"])
        assert trial.ask_one(asked, on.watching(on.new, b"a recording")) == [old] * 3
        assert trial.ask_one(ask_in_pieces([b"one", b"two"]), on.watching(on.new, b"another")) == [new] * 2
        assert (on.tally.asked, on.tally.failures) == (4, 1)


def test_the_answer_names_the_version_that_gave_it(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = push_model(small("failing"), tmp_path, {"rollback": {"requests": 20}})
        wait(lambda: answers(server) == new)
        assert ask(server, FILES[0]) == str(old)
        body = {"signature_name": "wav", "inputs": {"wav": [{"b64": FILES[1]}]}}
        assert server.ask("POST", "/v1/models/audio-gender:predict", body).status == 200


def ask_in_pieces(pieces: list[bytes]) -> Callable[[ServedVersion], list[int]]:
    """The version that answered for each piece."""

    def ask_all(served: ServedVersion) -> list[int]:
        for piece in pieces:
            served.signatures["wav"].function(wav=tf.constant([piece]))
        return [served.version for _ in pieces]

    return ask_all
