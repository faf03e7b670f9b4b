# SPDX-License-Identifier: Apache-2.0
"""A server's life: it loads the model, listens, and at SIGTERM answers what it has in hand before it ends."""

import asyncio
import logging
import os
import resource
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from beam_jobs.console import noise_to, say
from beam_jobs.errors import UserError
from components.server.app import Server
from components.server.config import ServerConfig

IDLE_S = 75.0
"""After which a connection is closed that brings no whole request head."""
DRAIN_S = 30.0
"""In which requests in hand are answered after SIGTERM."""
LOOK_EVERY_S = 0.1
BACKLOG = 1024
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ConsoleLog(logging.Handler):
    """The server's own lines, on the console with their time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Says one."""
        say(f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {self.format(record)}")


def run(config: ServerConfig) -> None:
    """Serves until a signal ends it.

    Raises:
        UserError: no model can be loaded, or the address cannot be had.
    """
    logger = logging.getLogger("components.server")
    logger.setLevel(logging.INFO)
    logger.addHandler(ConsoleLog())
    logger.propagate = False
    # A connection is a file: the default of 1,024 is little for many idle ones.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    address = bind(config.host, config.port)  # first: a model takes seconds
    with noise_to(Path(os.devnull)):  # TensorFlow's notes on the processor; what is wrong with a model is an exception
        server = Server(config)
    asyncio.run(_serve(server, address))


def bind(host: str, port: int) -> socket.socket:
    """The address to listen at.

    Raises:
        UserError: it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    return found


async def listen(server: Server, address: socket.socket, idle_s: float = IDLE_S) -> web.AppRunner:
    """Makes a server answer; `cleanup` of what is returned ends that when what is in hand is answered.

    Raises:
        UserError: another listens at the address by now.
    """
    runner = web.AppRunner(
        server.application(), access_log=None, keepalive_timeout=idle_s, shutdown_timeout=DRAIN_S, handle_signals=False
    )
    await runner.setup()
    try:
        await web.SockSite(runner, address, backlog=BACKLOG).start()
    except OSError as error:
        raise _cannot_listen(server.config.host, server.config.port, error) from None
    server.versions.start()
    return runner


def _cannot_listen(host: str, port: int, error: OSError) -> UserError:
    return UserError(f"{host}:{port}: cannot listen there ({error.strerror}); give another --host or --port")


async def _serve(server: Server, address: socket.socket) -> None:
    runner = await listen(server, address)
    host, port = runner.addresses[0][:2]
    say(f"serving {server.config.serving} at http://{f'[{host}]' if ':' in host else host}:{port}/ (Ctrl-C ends it)")
    ended = await _signal()
    say(f"{ended.name}: finishing the requests in progress")
    server.versions.stop()
    await drain(server, runner)
    server.limits.close()
    server.versions.finish_telling()
    if server.log:
        server.log.close()


async def drain(server: Server, runner: web.AppRunner) -> None:
    """Takes no new connection, answers what is in hand, and ends; what takes longer than `DRAIN_S` is given up."""
    server.draining = True
    for site in list(runner.sites):
        await site.stop()
    # aiohttp's own end waits for handlers, but lets go of a body that is still coming (3.14, `data_received` after `close`).
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await asyncio.sleep(LOOK_EVERY_S)  # what has just arrived is seen first
            while server.in_hand:
                await asyncio.sleep(LOOK_EVERY_S)
    await runner.cleanup()


async def _signal() -> signal.Signals:
    """Waits for one; what this process was started to ignore stays ignored."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[signal.Signals] = loop.create_future()

    def note(one: signal.Signals) -> None:
        if not came.done():
            came.set_result(one)

    caught = [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    for one in caught:
        loop.add_signal_handler(one, note, one)
    ended = await came
    for one in caught:
        loop.remove_signal_handler(one)  # a second one ends it at once
    return ended
