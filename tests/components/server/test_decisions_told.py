# SPDX-License-Identifier: Apache-2.0
"""What a server decides by itself is told to the OpenLineage server that pushes are told to, and waits for none that hangs."""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from openlineage_server import openlineage_server
from running_server import running, serve
from small_models import FILES, Maker, answers, ask, ask_until, place_model, push_model, wait

from components.pusher import lineage_events
from components.pusher.serving_folder import add_withdrawals, locked, read_provenance, versions
from components.pusher.trials import CANDIDATE_FOLDER, SERVER, candidate, fate

CANARY = {"share": 0.5, "requests": 30, "max_slowdown": 100}  # two of a kind differ that much on a busy machine
needs_openlineage = pytest.mark.skipif(not find_spec("openlineage"), reason="the optional package openlineage-python is missing")


@contextmanager
def hanging_server(drip: bytes = b"") -> Iterator[str]:
    """Accepts connections and never answers, or one byte at a time."""
    ended, held = threading.Event(), []

    def take() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                held.append(listening.accept()[0])
            for connection in held if drip else []:
                with suppress(OSError):
                    connection.send(drip)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()
            for connection in held:
                connection.close()


@contextmanager
def slow_receiver() -> Iterator[tuple[list[bool], str]]:
    """Answers after 1.5 s; whether who sent each event still listened then."""
    listened: list[bool] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            listened.append(not select.select([self.connection], [], [], 1.5)[0])  # what can be read then is its end
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield listened, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@needs_openlineage
def test_a_promotion_a_candidate_s_rollback_and_an_automatic_rollback_are_events(small: Maker, tmp_path: Path) -> None:
    with openlineage_server() as (events, url), running(_folder(small, tmp_path), poll_s=0.1) as server:
        settings = {"openlineage_url": url, "canary": CANARY, "rollback": {"requests": 60}}
        good = place_model(small(), tmp_path, settings, dataset_fingerprint="d1")
        ask_until(server, lambda: answers(server) == good)
        wait(lambda: len(events) == 1)
        bad = place_model(small("contrary"), tmp_path, settings, dataset_fingerprint="d2")
        ask_until(server, lambda: fate(tmp_path, bad) is not None)
        wait(lambda: len(events) == 2)
        failing = push_model(small("failing"), tmp_path, settings, dataset_fingerprint="d3")
        wait(lambda: answers(server) == failing)
        ask_until(server, lambda: versions(tmp_path)[-1] > failing)
        wait(lambda: len(events) == 3)

    promoted, withdrawn, back = (event for _, event in events)
    told = [(event["eventType"], event["job"]["name"]) for event in (promoted, withdrawn, back)]
    assert told == [("COMPLETE", "push.promoted"), ("FAIL", "push.promoted"), ("COMPLETE", "push.rolled_back")]
    facets = [event["run"]["facets"]["audio_gender"] for event in (promoted, withdrawn, back)]
    assert {facet["by"] for facet in facets} == {"serve"}
    assert [facet["action"] for facet in facets] == ["promoted", "rolled back", "rolled back"]
    data = [event["inputs"][0]["facets"]["version"]["datasetVersion"] for event in (promoted, withdrawn, back)]
    assert data == ["d1", "d2", "d1"]
    assert _version(promoted) == good and _version(back) == versions(tmp_path)[-1]
    assert withdrawn["outputs"] == [] and withdrawn["run"]["facets"]["errorMessage"]["message"] == fate(tmp_path, bad).why
    assert facets[2]["note"] == read_provenance(tmp_path, versions(tmp_path)[-1]).note


@needs_openlineage
@pytest.mark.parametrize("drip", [b"", b"H"], ids=["silent", "dripping"])
def test_a_receiver_that_hangs_holds_up_neither_decisions_nor_answers(
    small: Maker, tmp_path: Path, drip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage_events, "TIMEOUT_S", 300)  # longer than the test, on whatever machine
    monkeypatch.setattr(lineage_events, "DEADLINE_S", 300)
    with hanging_server(drip) as url, running(_folder(small, tmp_path), poll_s=0.1) as server:
        settings = {"openlineage_url": url, "canary": CANARY, "rollback": None}
        for _ in range(2):  # the first event is still on its way when the next decision is made
            new = place_model(small(), tmp_path, settings)
            ask_until(server, lambda new=new: fate(tmp_path, new) is not None)
            wait(lambda new=new: answers(server) == new)
        assert ask(server, FILES[0]) == str(new)
        telling = [thread for thread in server.server.versions._telling if thread.is_alive()]
        assert len(telling) == 2  # and both events are on their way all the same


@needs_openlineage
def test_the_end_of_a_server_waits_for_its_last_event_and_for_no_receiver_that_hangs(small: Maker, tmp_path: Path) -> None:
    _folder(small, tmp_path)
    with hanging_server() as hangs, slow_receiver() as (answered, slow), serve(tmp_path) as (process, server):
        for url in (hangs, slow):
            settings = {"openlineage_url": url, "canary": {"share": 1.0, "requests": 20}, "rollback": None}
            new = place_model(small(), tmp_path, settings)
            ask_until(server, lambda new=new: fate(tmp_path, new) is not None)
        process.terminate()
        started = time.monotonic()
        assert process.wait(60) == 0 and time.monotonic() - started < 12  # and not the 20 s of an event
    assert answered == [True]


@needs_openlineage
def test_what_a_killed_server_had_decided_is_told_by_the_one_that_does_it(small: Maker, tmp_path: Path) -> None:
    with openlineage_server() as (events, url):
        old = push_model(small(), tmp_path)
        bad = push_model(small("contrary"), tmp_path, {"openlineage_url": url})
        tried = place_model(small("unsure"), tmp_path, {"openlineage_url": url})
        found = (read_provenance(tmp_path, bad), read_provenance(tmp_path / CANDIDATE_FOLDER, tried))
        with locked(tmp_path):
            add_withdrawals(tmp_path, {known.model_digest: "r" for known in found}, "rolled back", SERVER, "serve@host", "slow")
        with running(tmp_path, poll_s=0.1) as server:
            assert answers(server) == versions(tmp_path)[-1] > bad > old and candidate(tmp_path) is None
            wait(lambda: len(events) == 2)
    told = {(event["eventType"], event["job"]["name"]) for _, event in events}
    assert told == {("FAIL", "push.promoted"), ("COMPLETE", "push.rolled_back")}


@pytest.mark.parametrize("installed", [True, False])
def test_one_that_cannot_be_told_is_a_line_of_the_log(
    small: Maker, tmp_path: Path, installed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    if installed and not find_spec("openlineage"):
        pytest.skip("the optional package openlineage-python is missing")
    if not installed:
        monkeypatch.setattr(lineage_events, "find_spec", lambda name: None)
    with running(_folder(small, tmp_path), poll_s=0.1) as server:
        new = place_model(small(), tmp_path, {"openlineage_url": "http://127.0.0.1:9", "canary": CANARY})
        ask_until(server, lambda: answers(server) == new)
        said = []

        def told() -> bool:
            said.append(capsys.readouterr().err)
            return ("did not accept the event" if installed else "openlineage-python is not installed") in "".join(said)

        wait(told, 30)


def _folder(small: Maker, serving: Path) -> Path:
    push_model(small(), serving)
    return serving


def _version(event: dict) -> int:
    (output,) = event["outputs"]
    return int(output["facets"]["version"]["datasetVersion"])
