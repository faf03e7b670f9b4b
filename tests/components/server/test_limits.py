# SPDX-License-Identifier: Apache-2.0
"""How much a server takes on: sizes, times, requests and connections, and what it says beyond them."""

import base64
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from running_server import running

PREDICT = "/v1/models/audio-gender:predict"


@pytest.fixture(scope="module")
def small(saved_models, tmp_path_factory):
    """A server of narrow limits."""
    from running_server import put

    serving = tmp_path_factory.mktemp("serving")
    put(saved_models["trained"], serving, 1)
    with running(
        serving, idle_s=2, max_body_mb=1, max_recording_mb=1, max_waiting=2, timeout_s=2, workers=1, max_duration_s=5
    ) as found:
        yield found


@pytest.fixture
def busy(small):
    """The one worker is kept until the test lets it go; returns how."""
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        free.wait(60)

    small.server.limits._pool.submit(hold)
    held.wait(60)
    yield free
    free.set()
    small.server.limits._pool.submit(lambda: None).result(60)


def question(voice: bytes) -> dict:
    return {"signature_name": "wav", "instances": [{"b64": base64.b64encode(voice).decode()}]}


def test_a_body_that_is_too_large_is_refused_at_its_head(small):
    with socket.create_connection(("127.0.0.1", small.port)) as client:
        client.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**12}\r\n\r\n".encode())
        answer = client.recv(1000).decode()
    assert answer.startswith("HTTP/1.1 413") and "larger than 1 MiB" in answer


def test_a_body_that_does_not_say_its_size_is_refused_where_it_grows_too_large(small):
    with socket.create_connection(("127.0.0.1", small.port)) as client:
        client.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        try:
            while sent < 50:
                client.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                sent += 1
        except OSError:
            pass
        client.settimeout(20)
        answer = client.recv(1000).decode()
    assert answer.startswith("HTTP/1.1 413")


def test_a_body_that_drips_is_given_up_and_holds_nobody_up(small, voices):
    with socket.create_connection(("127.0.0.1", small.port)) as client:
        client.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode())
        started = time.monotonic()
        client.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() - started < 30:
            client.sendall(b"x")
            try:
                answer = client.recv(1000)
            except TimeoutError:
                assert small.ask("POST", PREDICT, question(voices[0])).status == 200
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_head_that_drips_is_closed(small):
    with socket.create_connection(("127.0.0.1", small.port)) as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n")
        started = time.monotonic()
        client.settimeout(0.2)
        while time.monotonic() - started < 30:
            try:
                client.sendall(b"X-Drip: 1\r\n")
                if client.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("still open after 30 s")


def test_five_hundred_idle_connections_hold_nobody_up(small, voices):
    idle = [socket.create_connection(("127.0.0.1", small.port)) for _ in range(500)]
    try:
        assert small.ask("POST", PREDICT, question(voices[0])).status == 200
    finally:
        for connection in idle:
            connection.close()


def test_beyond_those_that_wait_clients_are_told_to_come_again(small, busy, voices):
    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(small.ask, "POST", PREDICT, question(voices[0])) for _ in range(8)]
        refused = [answer for answer in (one.result() for one in asked) if answer.status == 503]
    # The worker's place is not theirs: one and two that wait are taken on, and found out of time.
    assert len(refused) == 5
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert "try again" in refused[0].error
    assert small.ask("GET", "/v2/health/live").status == 200


def test_what_is_not_answered_in_time_is_504_and_not_run_later(small, busy, voices):
    answer = small.ask("POST", PREDICT, question(voices[0]))
    assert answer.status == 504 and "not answered within 2 s" in answer.error
    assert small.figure("audio_gender_waiting") == 0
    busy.set()
    assert small.ask("POST", PREDICT, question(voices[0])).status == 200


def test_memory_for_bodies_is_shared(small):
    clients = []
    try:
        for _ in range(5):
            client = socket.create_connection(("127.0.0.1", small.port))
            client.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2**20}\r\n\r\n".encode())
            client.sendall(bytes(2**20 - 10))
            clients.append(client)
        answers = []
        for client in clients:
            client.settimeout(10)
            answers.append(client.recv(100)[9:12])
    finally:
        for client in clients:
            client.close()
    assert sorted(answers) == [b"408"] * 4 + [b"503"]


def test_a_recording_that_is_too_long(small, make_voice):
    from running_server import wav

    assert small.ask("POST", "/analyse", wav(make_voice(0, 1, 48_000), 8000)).error == "longer than 5 s"


def test_a_compressed_body_counts_at_its_full_size(small):
    import gzip

    answer = small.ask("POST", PREDICT, gzip.compress(bytes(50 * 2**20)), Content_Encoding="gzip")
    assert answer.status == 413, answer
