# SPDX-License-Identifier: Apache-2.0
"""`audio-gender serve` as a person starts and ends it."""

import base64
import http.client
import json
import signal
import socket
import subprocess
import threading

import pytest
from commands import COMMAND, call, environment, only_line
from processes import answers, free_port


@pytest.fixture
def started(serving):
    """A server's process and its port."""
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "serve", "--serving", serving, "--port", str(port)],
        stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    while not answers(port):
        assert process.poll() is None, process.communicate()
    yield process, port
    process.kill()
    process.communicate()


def test_a_signal_ends_it_when_what_is_in_hand_is_answered(started, voices):
    process, port = started
    body = json.dumps(
        {"signature_name": "wav", "instances": [{"b64": base64.b64encode(voice).decode()} for voice in voices * 60]}
    )
    found: list[bytes] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.putrequest("POST", "/v1/models/audio-gender:predict")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:1000].encode())
        begun.set()
        connection.send(body[1000:].encode())
        found.append(connection.getresponse().read())

    begun = threading.Event()
    thread = threading.Thread(target=client)
    thread.start()
    begun.wait(60)
    idle = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    idle.request("GET", "/v2")
    idle.getresponse().read()
    process.send_signal(signal.SIGTERM)
    thread.join()
    said = process.communicate(timeout=60)[1]

    assert len(json.loads(found[0])["predictions"]) == 240
    assert process.returncode == 0
    assert "version 1 answers" in said and f"http://127.0.0.1:{port}/" in said and "SIGTERM" in said
    assert "Traceback" not in said and "oneDNN" not in said


def test_what_it_cannot_do_is_one_line(serving, tmp_path):
    assert "holds no version of a model" in only_line(call("serve", "--serving", tmp_path, "--port", "0"))
    assert "Name or service" in only_line(call("serve", "--serving", serving, "--host", "nowhere.invalid"))
    nowhere = tmp_path / "nowhere.pem"
    assert f"{nowhere}: the public key cannot be read" in only_line(
        call("serve", "--serving", serving, "--port", "0", AUDIO_GENDER_PUBLIC_KEY=str(nowhere))
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: cannot listen there" in only_line(call("serve", "--serving", serving, "--port", str(port)))
