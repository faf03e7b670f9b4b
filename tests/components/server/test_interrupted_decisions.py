# SPDX-License-Identifier: Apache-2.0
"""Decisions of servers that are killed, that share a folder, or whose folder cannot be written when they decide."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from running_server import Running, running
from small_disks import small_file_system
from small_models import FILES, Maker, answers, ask, ask_until, on_trial, place_model, push_model, wait

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import add_withdrawals, locked, read_provenance, versions
from components.pusher.trials import CANDIDATE_FOLDER, DECISIONS_FILE, SERVER, candidate, fate, read_decisions
from components.pusher.withdrawn import WITHDRAWN_FILE
from components.server import tried_versions

CANARY = {"canary": {"share": 0.5, "requests": 30}}


def test_two_servers_roll_a_version_back_once(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as one, running(tmp_path, poll_s=0.1) as two:
        bad = push_model(small("failing"), tmp_path, {"rollback": {"requests": 60}})
        wait(lambda: answers(one) == answers(two) == bad)
        with ThreadPoolExecutor(2) as clients:  # both decide at about the same time
            list(clients.map(lambda server: [ask(server, file) for file in FILES[:30]], (one, two)))
        wait(lambda: answers(one) == answers(two) == versions(tmp_path)[-1] != bad)
        time.sleep(1)
    assert len(versions(tmp_path)) == 3
    assert [decision.version for decision in read_decisions(tmp_path)] == [bad]


@pytest.mark.parametrize("kind", ["good", "contrary"])
def test_a_decision_that_cannot_be_remembered_stands(
    small: Maker, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture
) -> None:
    old = push_model(small(), tmp_path)
    (tmp_path / DECISIONS_FILE / "in the way").mkdir(parents=True)
    with running(tmp_path, poll_s=0.1) as server:
        tried = place_model(small(kind), tmp_path, CANARY)
        ask_until(server, lambda: candidate(tmp_path) is None)
        wait(lambda: answers(server) == (tried if kind == "good" else old))
    assert f"{DECISIONS_FILE}: cannot be written" in capsys.readouterr().err
    assert fate(tmp_path, tried).outcome == ("promoted" if kind == "good" else "superseded")  # by what lies in the folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_file_system(tmp_path / "disk", "8m") as disk:
        yield disk


@pytest.mark.parametrize(
    ("kind", "trouble"),
    [("good", "full"), pytest.param("contrary", "read-only", marks=pytest.mark.slow)],
)
def test_a_disk_that_can_be_written_again_gets_what_was_decided(
    small: Maker, small_disk: Path, kind: str, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tried_versions, "RETRY_S", 1.0)
    old = push_model(small(), small_disk)
    with running(small_disk, poll_s=0.1) as server:
        tried = place_model(small(kind), small_disk, CANARY)
        wait(lambda: on_trial(server) == tried)
        if trouble == "full":
            with suppress(OSError), (small_disk / "other").open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        ask_until(server, lambda: on_trial(server) == 0)
        time.sleep(1.5)
        assert candidate(small_disk) == tried and on_trial(server) == 0 and answers(server) == old

        if trouble == "full":
            (small_disk / "other").unlink()
        else:
            subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)

        wait(lambda: candidate(small_disk) is None)
        wait(lambda: answers(server) == (tried if kind == "good" else old))
    assert fate(small_disk, tried).outcome == ("promoted" if kind == "good" else "rolled back")


def test_a_candidate_whose_withdrawal_was_interrupted_is_not_tried_again(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    bad = place_model(small(), tmp_path, CANARY)
    digest = read_provenance(tmp_path / CANDIDATE_FOLDER, bad).model_digest
    with running(tmp_path, poll_s=0.1) as server:  # which tries it, while another one that withdraws it is killed
        wait(lambda: on_trial(server) == bad)
        with locked(tmp_path):
            add_withdrawals(tmp_path, {digest: "r"}, "rolled back", SERVER, "serve@host", "agrees on nothing")
        ask_until(server, lambda: on_trial(server) == 0)
        wait(lambda: candidate(tmp_path) is None)
        assert answers(server) == old
    assert (fate(tmp_path, bad).outcome, fate(tmp_path, bad).why) == ("rolled back", "agrees on nothing")


def test_a_server_killed_in_the_middle_of_a_rollback_leaves_it_to_the_next(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    bad = push_model(small("contrary"), tmp_path)
    with locked(tmp_path):  # what `put_back` does first
        digest = read_provenance(tmp_path, bad).model_digest
        add_withdrawals(tmp_path, {digest: "r"}, "rolled back", SERVER, "serve@host", "300 of 500 requests failed")
    with running(tmp_path, poll_s=0.1) as server:
        back = versions(tmp_path)[-1]
        assert answers(server) == back > bad
    assert read_provenance(tmp_path, back).rolled_back_to == old
    assert (fate(tmp_path, bad).outcome, fate(tmp_path, bad).against) == ("rolled back", old)


def test_what_a_person_puts_in_front_after_a_server_took_it_out_stays(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    digest = read_provenance(tmp_path, versions(tmp_path)[-1]).model_digest
    with locked(tmp_path):
        add_withdrawals(tmp_path, {digest: "r"}, "rolled back", SERVER, "serve@host", "slow")
    time.sleep(0.01)
    approved = push_model(small(), tmp_path, action="approved", by="ada")
    with running(tmp_path, poll_s=0.1) as server:
        assert answers(server) == approved == versions(tmp_path)[-1]


@pytest.mark.slow
def test_a_server_process_killed_while_it_promotes_leaves_a_folder_that_the_next_one_serves(small: Maker, tmp_path: Path) -> None:
    """SIGKILL as soon as the provenance of the candidate says that it is promoted, so before or after it is renamed."""
    old = push_model(small(), tmp_path)
    new = place_model(small(), tmp_path, {"canary": {"share": 1.0, "requests": 20}})
    command = [sys.executable, "-m", "pipeline", "serve", "--serving", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        port = next(int(line.rsplit(":", 1)[1].split("/")[0]) for line in process.stderr if "http://" in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        server = Running(None, port)
        wait(lambda: on_trial(server) == new)
        promoted = lambda: any(  # noqa: E731
            known and known.action == "promoted"
            for known in (read_provenance(tmp_path / CANDIDATE_FOLDER, new), read_provenance(tmp_path, new))
        )
        for number in range(2000):
            ask(server, FILES[number % len(FILES)])
            if promoted():
                os.kill(process.pid, signal.SIGKILL)
                break
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    with running(tmp_path, poll_s=0.1) as again:
        if candidate(tmp_path) == new:
            ask_until(again, lambda: answers(again) == new)
        wait(lambda: answers(again) == new)
    assert versions(tmp_path) == [old, new] and candidate(tmp_path) is None
    known = read_provenance(tmp_path, new)
    assert isinstance(known, Provenance) and (known.action, known.by) == ("promoted", SERVER)


@pytest.mark.slow
def test_five_hundred_requests_at_once_in_a_trial_are_answered_or_told_to_come_again(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = place_model(small(), tmp_path, {"canary": {"share": 1.0, "requests": 10_000}})
        wait(lambda: on_trial(server) == new)
        wav = {"name": "wav", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}

        def client(number: int) -> int:
            body = {"inputs": [{**wav, "data": [FILES[number % len(FILES)]]}]}
            return server.ask("POST", "/v2/models/audio-gender/infer", body).status

        with ThreadPoolExecutor(500) as clients:
            found = list(clients.map(client, range(500)))
        assert set(found) <= {200, 503} and found.count(200) >= 64
        assert ask(server, FILES[0])
        assert server.figure("audio_gender_waiting") == 0
        assert threading.active_count() < 60


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[str], int]:
    """How often the server's log has a text."""
    caplog.set_level(logging.INFO, "components.server")
    return lambda text: sum(text in record.getMessage() for record in caplog.records)


def test_a_rollback_that_nobody_can_carry_out_is_said_once_and_holds_up_no_candidate(
    small: Maker, tmp_path: Path, said: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tried_versions, "RETRY_S", 0.2)
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        bad = push_model(small("failing"), tmp_path, {"rollback": {"requests": 60}})
        wait(lambda: answers(server) == bad)
        shutil.rmtree(tmp_path / str(old))
        ask_until(server, lambda: answers(server) == old)
        new = place_model(small(), tmp_path, CANARY)
        ask_until(server, lambda: answers(server) == new)
    assert versions(tmp_path) == [bad, new]
    assert said(f"version {bad} is still the newest of the folder until a person changes that: {tmp_path}: no version {old}") == 1


@pytest.mark.parametrize("kind", ["good", "contrary"])
def test_a_decision_beside_a_damaged_list_is_said_once_and_holds_up_no_later_candidate(
    small: Maker, tmp_path: Path, kind: str, said: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tried_versions, "RETRY_S", 0.2)
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        tried = place_model(small(kind), tmp_path, CANARY)
        wait(lambda: on_trial(server) == tried)
        (tmp_path / WITHDRAWN_FILE).write_text("[")
        ask_until(server, lambda: on_trial(server) == 0)
        time.sleep(1)
        assert on_trial(server) == 0 and candidate(tmp_path) == tried  # and it is not tried over and over
        (tmp_path / WITHDRAWN_FILE).unlink()
        new = place_model(small(), tmp_path, CANARY)
        ask_until(server, lambda: answers(server) == new)
    assert said(f"candidate {tried} stays where it is until a person changes that: {tmp_path / WITHDRAWN_FILE}: damaged") == 1
