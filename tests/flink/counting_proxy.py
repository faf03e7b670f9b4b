# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that counts what comes out of a server, by whatever name the test gives the time in which it comes."""

import socket
import threading
from collections import Counter
from types import TracebackType
from typing import Self


class CountingProxy:
    """Hands connections to `127.0.0.1:port` on, as a context manager; `received` has the bytes by `step`, headers included.

    `by_client` has them by the address that asked; `listener` is a socket of the caller's in place of one on 127.0.0.1.
    """

    def __init__(self, port: int, listener: socket.socket | None = None) -> None:
        self._upstream = port
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.step = ""
        self.received: Counter[str] = Counter()
        self.by_client: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its endpoint."""
        return "http://{}:{}".format(*self._listener.getsockname())

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, (address, _) = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            for source, target, counted_for in ((client, server, ""), (server, client, address)):
                threading.Thread(target=self._pump, args=(source, target, counted_for), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted_for: str) -> None:
        try:
            while content := source.recv(1 << 16):
                if counted_for:
                    with self._lock:
                        self.received[self.step] += len(content)
                        self.by_client[counted_for] += len(content)
                target.sendall(content)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()
