# SPDX-License-Identifier: Apache-2.0
"""A candidate is promoted or rolled back by itself, no client pays for a bad one, and other model servers do not see it."""

import io
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from running_server import Running, running
from small_models import (
    FILES,
    Maker,
    answers,
    ask,
    ask_until,
    on_trial,
    place_model,
    push_model,
    save_failing_combine,
    save_swapped,
    wait,
)

from components.pusher.serving_folder import read_provenance, roll_back, versions, withdraw
from components.pusher.trials import CANDIDATE_FOLDER, candidate, fate, read_decisions
from components.pusher.withdrawn import read_withdrawn
from components.server import versions as served_versions

CANARY = {"canary": {"share": 0.5, "requests": 30}}
SHADOW = {"canary": {"share": 1.0, "requests": 30, "shadow": True}}


def test_one_that_agrees_is_promoted_and_its_share_is_a_hash_of_the_request(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = place_model(small(), tmp_path, CANARY)
        assert versions(tmp_path) == [old]  # all that another model server sees
        wait(lambda: on_trial(server) == new)
        assert answers(server) == old
        first = [ask(server, file) for file in FILES[:16]]
        assert [ask(server, file) for file in FILES[:16]] == first and set(first) == {str(old), str(new)}

        ask_until(server, lambda: answers(server) == new)

        assert server.figure('audio_gender_canary_decisions_total{outcome="promoted"}') == 1
        assert on_trial(server) == 0
    decision = read_decisions(tmp_path)[-1]
    assert (decision.version, decision.outcome, decision.against) == (new, "promoted", old)
    assert decision.requests >= 30
    assert decision.why == f"agrees with version {old} on {decision.requests} of {decision.requests} answers"
    stored = read_provenance(tmp_path, new)
    assert (stored.action, stored.by, stored.note, stored.version) == ("promoted", "serve", decision.why, new)
    assert versions(tmp_path) == [old, new] and candidate(tmp_path) is None and not read_withdrawn(tmp_path)


@pytest.mark.parametrize(
    ("kind", "why", "settings"),
    [
        ("contrary", "agrees with version {old} on 0 of ", CANARY),
        ("lopsided", "agrees with version {old} on ", SHADOW),
        ("unsure", "its probabilities differ by 0.", SHADOW),
        ("failing", "3 requests failed (", CANARY),
        ("failing", "3 requests failed (", SHADOW),
        ("NaN", "3 requests failed (answers with NaN or infinity)", CANARY),
        pytest.param("slow", "answers in ", CANARY, marks=pytest.mark.slow),
    ],
)
def test_a_bad_one_is_rolled_back_remembered_and_costs_no_client_an_answer(
    small: Maker, tmp_path: Path, kind: str, why: str, settings: dict
) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        bad = place_model(small(kind), tmp_path, settings)
        digest = read_provenance(tmp_path / CANDIDATE_FOLDER, bad).model_digest
        wait(lambda: on_trial(server) == bad)

        answered = ask_until(server, lambda: candidate(tmp_path) is None)  # every answer is 200

        assert answers(server) == old and on_trial(server) == 0
        assert server.figure('audio_gender_canary_decisions_total{outcome="rolled back"}') == 1
        answers_some = settings is CANARY and kind != "failing"  # which answers nothing; the other one, instead, names itself
        assert set(answered) == ({str(old), str(bad)} if answers_some else {str(old)})
        assert set(ask_until(server, lambda: True)) == {str(old)}
    assert versions(tmp_path) == [old]
    decision = fate(tmp_path, bad)
    assert decision.outcome == "rolled back" and decision.why.startswith(why.format(old=old))
    withdrawn = read_withdrawn(tmp_path)[digest]  # so no run pushes it again by itself
    assert withdrawn.by == "serve" and withdrawn.note == decision.why


def test_a_restart_in_the_middle_begins_the_trial_anew(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    bad = place_model(small("contrary"), tmp_path, CANARY)
    with running(tmp_path, poll_s=0.1) as server:
        wait(lambda: on_trial(server) == bad)

    with running(tmp_path, poll_s=0.1) as server:
        assert answers(server) == old
        wait(lambda: on_trial(server) == bad)
        ask_until(server, lambda: fate(tmp_path, bad) is not None)


@pytest.mark.parametrize("action", ["approved", "rolled back", "rejected", "newer", "by hand"])
def test_what_others_do_ends_a_trial(small: Maker, tmp_path: Path, action: str) -> None:
    first = push_model(small("lopsided"), tmp_path)
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        tried = place_model(small("contrary"), tmp_path, CANARY)
        wait(lambda: on_trial(server) == tried)
        match action:
            case "approved":  # a person's decision, which is taken up at once
                new, why = push_model(small("contrary"), tmp_path, action="approved", by="ada"), "version {new} came into serving"
            case "rolled back":
                new, why = roll_back(tmp_path, first, "ada", "ada@here", "noise").version, "version {new} came into serving"
            case "rejected":
                known = read_provenance(tmp_path / CANDIDATE_FOLDER, tried)
                withdraw(tmp_path, {known.model_digest: "r"}, "rejected", "ada", "ada@here", "too loud")
                new, why = old, "rejected by ada: too loud"
            case "newer":
                new, why = old, "a newer candidate came"
                another = place_model(small(), tmp_path, CANARY)
            case "by hand":
                shutil.rmtree(tmp_path / CANDIDATE_FOLDER / str(tried))
                new, why = old, "it is gone, and nothing says why"
        wait(lambda: answers(server) == new and on_trial(server) == (another if action == "newer" else 0))
    decision = fate(tmp_path, tried)
    assert (decision.outcome, decision.why) == ("superseded", why.format(new=new))


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_one_that_cannot_be_loaded_is_rolled_back(small: Maker, tmp_path: Path, damage: str) -> None:
    old = push_model(small(), tmp_path)
    broken = place_model(small(), tmp_path, CANARY)
    file = tmp_path / CANDIDATE_FOLDER / str(broken) / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:1000] if damage == "truncated" else file.read_bytes() + b"\0")
    with running(tmp_path, poll_s=0.1) as server:
        wait(lambda: fate(tmp_path, broken) is not None)
        assert answers(server) == old
    assert fate(tmp_path, broken).why.startswith("cannot be loaded: its files are not those that were pushed")
    assert not read_withdrawn(tmp_path)  # a damaged copy is no fault of the model, which a run may push again


def test_one_that_is_slow_to_read_is_tried_all_the_same(small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_model(small(), tmp_path)
    read = tf.saved_model.load

    def read_slowly(folder: str) -> object:
        found = read(folder)
        time.sleep(11)  # as from a busy network disk
        return found

    with running(tmp_path, poll_s=0.1) as server:
        monkeypatch.setattr(served_versions, "WARM_UP_S", 10.0)
        monkeypatch.setattr(tf.saved_model, "load", read_slowly)
        new = place_model(small(), tmp_path, CANARY)
        wait(lambda: on_trial(server) == new or fate(tmp_path, new) is not None)
        assert fate(tmp_path, new) is None


def test_one_that_was_kept_from_its_decision_is_tried_again_once_that_is_repaired(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = place_model(small("contrary"), tmp_path, CANARY)
        wait(lambda: on_trial(server) == new)
        (tmp_path / ".withdrawn.json").write_text("{damaged")
        ask_until(server, lambda: on_trial(server) == 0)
        assert candidate(tmp_path) == new

        (tmp_path / ".withdrawn.json").unlink()

        wait(lambda: on_trial(server) == new)
        ask_until(server, lambda: fate(tmp_path, new) is not None)
    assert fate(tmp_path, new).outcome == "rolled back" and candidate(tmp_path) is None


@pytest.mark.slow
def test_one_that_fails_where_a_long_recording_comes_together_costs_no_client_an_answer(
    saved_models: dict[str, str], make_voice, tmp_path: Path
) -> None:
    save_failing_combine(saved_models["trained"], tmp_path / "failing")
    serving, long = tmp_path / "serving", io.BytesIO()
    soundfile.write(long, np.resize(make_voice(0, 10), 320 * 8000), 8000, format="WAV", subtype="PCM_16")
    old = push_model(Path(saved_models["trained"]), serving)
    with running(serving, poll_s=0.1, workers=1) as server:
        push_model(tmp_path / "failing", serving, {"rollback": {"requests": 200}})
        wait(lambda: answers(server) != old)
        for _ in range(20):
            answer = server.ask("POST", "/analyse", long.getvalue())
            assert (answer.status, answer.json["version"]) == (200, str(old)), answer.body
            if read_decisions(serving):
                break
        wait(lambda: len(versions(serving)) == 3)
    assert "requests failed (assertion failed: [out of memory]" in read_decisions(serving)[-1].why


def test_a_folder_that_cannot_be_written_still_loses_no_request(
    small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        bad = place_model(small("contrary"), tmp_path, CANARY)
        wait(lambda: on_trial(server) == bad)
        # A folder in the way of what is written: root may write anywhere.
        (tmp_path / ".withdrawn.json" / "in the way").mkdir(parents=True)

        ask_until(server, lambda: on_trial(server) == 0)

        assert answers(server) == old and candidate(tmp_path) == bad
        polls, look = [], server.server.versions.look
        monkeypatch.setattr(server.server.versions, "look", lambda: polls.append(look()))
        wait(lambda: len(polls) > 10)
        assert on_trial(server) == 0  # and it is not tried again
        assert set(ask_until(server, lambda: True)) == {str(old)}


def test_two_servers_of_a_folder_come_to_one_decision(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as one, running(tmp_path, poll_s=0.1) as two:
        new = place_model(small(), tmp_path, CANARY)
        wait(lambda: on_trial(one) == on_trial(two) == new)

        def ask_both(server: Running) -> None:
            ask_until(server, lambda: answers(server) == new)

        threads = [threading.Thread(target=ask_both, args=(server,)) for server in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers(one) == answers(two) == new
    assert [decision.outcome for decision in read_decisions(tmp_path)] == ["promoted"]


def test_requests_that_ask_for_a_version_are_answered_by_it_alone(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = place_model(small(), tmp_path, {"canary": {"share": 1.0}})
        wait(lambda: on_trial(server) == new)
        body = {"signature_name": "wav", "inputs": {"wav": [{"b64": FILES[0]}]}}
        assert server.ask("POST", f"/v1/models/audio-gender/versions/{old}:predict", body).status == 200
        assert server.ask("POST", f"/v1/models/audio-gender/versions/{new}:predict", body).status == 404
        assert server.figure("audio_gender_compared_total") == 0
        assert ask(server, FILES[0]) == str(new)


@pytest.mark.slow
def test_a_trained_model_whose_head_is_swapped_goes_and_the_same_model_again_stays(
    saved_models: dict[str, str], voices: list[bytes], tmp_path: Path
) -> None:
    root = os.environ.get("LIBRISPEECH_ROOT")
    recordings = [path.read_bytes() for path in sorted(Path(root).rglob("*.flac"))[:25]] if root else voices
    save_swapped(saved_models["trained"], tmp_path / "swapped")
    serving = tmp_path / "serving"
    old = push_model(Path(saved_models["trained"]), serving)
    settings = {"canary": {"share": 0.5, "requests": 25}}

    def ask_until_decided(server: Running, version: int) -> None:
        for number in range(2000):
            # The name is a part of no hash, so other bytes behind the sound make it another request.
            answer = server.ask("POST", "/analyse", recordings[number % len(recordings)] + bytes([number % 256, number // 256]))
            assert answer.status == 200, answer.body
            if fate(serving, version):
                return
            time.sleep(0.05)  # versions are compared when no client waits
        raise AssertionError("nothing was decided")

    with running(serving, poll_s=0.1) as server:
        bad = place_model(tmp_path / "swapped", serving, settings)
        wait(lambda: on_trial(server) == bad)
        ask_until_decided(server, bad)
        good = place_model(Path(saved_models["trained"]), serving, settings)
        wait(lambda: on_trial(server) == good)
        ask_until_decided(server, good)
        wait(lambda: answers(server) == good)
    assert (fate(serving, bad).outcome, fate(serving, good).outcome) == ("rolled back", "promoted")
    assert fate(serving, bad).why.startswith(f"agrees with version {old} on ")
