# SPDX-License-Identifier: Apache-2.0
"""A server in this process, and a plain client that shares no code with it."""

import asyncio
import http.client
import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
from aiohttp import web_app

from components.server.app import Server
from components.server.config import ServerConfig
from components.server.run import bind, listen


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of a refusal."""
        assert set(self.json) == {"error"}
        assert "\n" not in self.json["error"] and "Traceback" not in self.json["error"]
        return self.json["error"]


@dataclass(frozen=True)
class Running:
    server: Server
    port: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own; what is neither bytes nor None is sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, content, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def figure(self, line: str) -> float:
        """A figure of /metrics, by the beginning of its line."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return float(next((found.split()[-1] for found in lines if found.startswith(line)), 0))


@contextmanager
def running(serving: Path, idle_s: float = 75, **settings: Any) -> Iterator[Running]:
    server = Server(ServerConfig(serving, port=0, **settings))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        runner = asyncio.run_coroutine_threadsafe(listen(server, bind("127.0.0.1", 0), idle_s), loop).result(60)
        try:
            yield Running(server, runner.addresses[0][1])
        finally:
            server.versions.stop()
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
            server.limits.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        # aiohttp remembers the handlers of applications that are gone, and each of ours holds a model of half a gigabyte.
        web_app._cached_build_middleware.cache_clear()


def put(model: str | Path, serving: Path, version: int) -> None:
    """A version that appears whole, as a push makes it."""
    coming = serving / f".coming-{version}"
    shutil.copytree(model, coming)
    coming.rename(serving / str(version))


def wav(samples: np.ndarray, sample_rate_hz: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


@contextmanager
def serve(serving: Path, *options: str) -> Iterator[tuple[psutil.Popen, Running]]:
    """`audio-gender serve`, in a process of its own."""
    command = [sys.executable, "-m", "pipeline", "serve", "--serving", str(serving), "--port", "0", *options]
    process = psutil.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        port = next(int(line.rsplit(":", 1)[1].split("/")[0]) for line in process.stderr if "http://" in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, Running(None, port)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()
        process.wait()
        process.stderr.close()
