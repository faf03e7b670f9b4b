# SPDX-License-Identifier: Apache-2.0
"""The log of a worker's Pod, followed into this process's stdout while the Pod runs."""

import math
import threading
import time

import urllib3
from kubernetes import client

from components.trainer.workers.kubernetes.objects import WORKER_CONTAINER

READ_TIMEOUT_S = 60
RECONNECT_S = 1.0
OVERLAP_S = 5
LAST_WORDS_S = 20
FORBIDDEN = 403


class FollowedLog:
    """Prints each line of a container's log once, however often the connection breaks.

    The container must have started. `refusal` is the server's, where this account may not read logs.
    """

    def __init__(self, api: client.CoreV1Api, namespace: str, pod: str) -> None:
        self._api, self._namespace, self._pod = api, namespace, pod
        self.refusal: client.ApiException | None = None
        self._ended = threading.Event()
        self._last_line, self._last_read = "", time.monotonic()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Reads what is left of the log of a container that has ended."""
        self._ended.set()
        self._thread.join(LAST_WORDS_S)

    def _follow(self) -> None:
        while True:
            last = self._ended.is_set()
            # The connection breaks where a node or the API server goes, and after a minute of silence.
            try:
                self._read(follow=not last)
            except client.ApiException as error:
                if error.status == FORBIDDEN:
                    self.refusal = error
                    return
            except urllib3.exceptions.HTTPError:
                pass
            if last:
                return
            self._ended.wait(RECONNECT_S)

    def _read(self, follow: bool) -> None:
        # The client cannot ask for the lines since a time, so it asks for some more, and drops what it has seen.
        since_s = {"since_seconds": math.ceil(time.monotonic() - self._last_read) + OVERLAP_S} if self._last_line else {}
        response = self._api.read_namespaced_pod_log(
            self._pod,
            self._namespace,
            container=WORKER_CONTAINER,
            follow=follow,
            timestamps=True,
            _preload_content=False,
            _request_timeout=READ_TIMEOUT_S,
            **since_s,
        )
        try:
            for raw in response:
                # The kubelet's times have one length and one zone, so they are ordered as text.
                written, _, line = raw.decode(errors="replace").rstrip("\r\n").partition(" ")
                if written > self._last_line:
                    print(line, flush=True)
                    self._last_line, self._last_read = written, time.monotonic()
        finally:
            response.close()
