# SPDX-License-Identifier: Apache-2.0
"""A node whose pods are processes of this machine: the first container's command, without its image, volumes and limits.

    with Kubelet(control_plane, folder) as kubelet:
        ...  # pods of any namespace run, end and are started again by their Job
        kubelet.kill("worker-1-abcde", reason="OOMKilled")

As a node does, it binds pods to itself (there is no scheduler), reports their status, serves their logs, and ends those that are
deleted. All its pods have `restartPolicy: Never`.
"""

import ssl
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from api import Manifest, RefusedError
from container import Container
from control_plane import ControlPlane
from pod_network import PodNetwork

NODE = "tests"
POLL_S = 0.1


def own_command(pod: Manifest) -> list[str]:
    """What the pod's template says."""
    container = pod["spec"]["containers"][0]
    return [*container.get("command", []), *container.get("args", [])]


class Kubelet:
    """A running node, as a context manager. Logs lie in `folder`."""

    def __init__(self, control_plane: ControlPlane, folder: Path) -> None:
        self.command: Callable[[Manifest], list[str]] = own_command
        """What to run for a pod: a test may play another program."""
        self.network: PodNetwork | None = None
        """Where each pod has an address of its own."""
        self._api, self._folder = control_plane.admin, folder
        self._containers: dict[str, Container] = {}
        self._reported: dict[str, Manifest] = {}
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._log_handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(control_plane.certificate_file, control_plane.key_file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._threads = [threading.Thread(target=target) for target in (self._server.serve_forever, self._run)]

    def __enter__(self) -> Self:
        self._api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.server_port}},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        self._api.call("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status})
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ends.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        for container in self._containers.values():
            container.kill()
        self._server.server_close()  # waits for those who follow a log
        self._api.call("DELETE", f"/api/v1/nodes/{NODE}")

    def kill(self, pod: str, reason: str = "") -> None:
        """`kill -9` of a pod's process; for want of memory, a kernel's reason is OOMKilled."""
        with self._lock:
            self._container(pod).kill(reason)

    def _container(self, pod: str) -> Container:
        return next(container for container in self._containers.values() if container.pod == pod)

    def _run(self) -> None:
        while not self._ends.wait(POLL_S):
            try:
                with self._lock:
                    for pod in self._api.items("/api/v1/pods"):
                        with suppress(RefusedError):  # it changed meanwhile: next time
                            self._tend(pod)
            except Exception:
                traceback.print_exc()

    def _tend(self, pod: Manifest) -> None:
        metadata, node = pod["metadata"], pod["spec"].get("nodeName")
        uid, path = metadata["uid"], f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if node is None:
            binding = {"metadata": {"name": metadata["name"]}, "target": {"kind": "Node", "name": NODE}}
            self._api.call("POST", f"{path}/binding", binding)
            return
        if uid not in self._containers:
            self._containers[uid] = self._start(pod)
        container, deleted = self._containers[uid], "deletionTimestamp" in metadata
        if deleted:
            container.kill()
        status = container.status()
        if status["phase"] != self._reported.get(uid):
            self._api.call("PATCH", f"{path}/status", {"status": status})
            self._reported[uid] = status["phase"]
        if deleted:
            self._api.call("DELETE", path, gracePeriodSeconds="0")

    def _start(self, pod: Manifest) -> Container:
        address, command = "127.0.0.1", self.command(pod)
        if self.network:
            address, command = self.network.join(pod, command)
        return Container(pod, command, address, self._folder)

    def _log_handler(self) -> type[BaseHTTPRequestHandler]:
        kubelet = self

        class LogHandler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)  # /containerLogs/NAMESPACE/POD/CONTAINER
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                since_s = float(query["sinceSeconds"]) if "sinceSeconds" in query else None
                container = kubelet._container(url.path.split("/")[3])
                self.send_response(200)
                self.end_headers()
                for line in container.lines(query.get("follow") == "true", query.get("timestamps") == "true", since_s):
                    self.wfile.write(line)
                    self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        return LogHandler
