"""A node whose pods are processes of this machine: the first container's command, without its image, volumes and limits.

with Kubelet(control_plane, folder) as kubelet:
    ...  # pods of any namespace run, end and are restarted by their Job
    kubelet.kill("worker-1-abcde", reason="OOMKilled")

As a node does, it binds pods to itself (there is no scheduler), reports their status, serves their logs, and ends those that are
deleted. A pod without restarts (`restartPolicy: Never`) is all that it knows.
"""

import os
import signal
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from api import Manifest, RefusedError
from control_plane import ControlPlane
from pod_network import PodNetwork

NODE = "tests"
CHECKOUT = Path(__file__).parents[2]
POLL_S = 0.1


@dataclass
class Container:
    """The one container of a pod."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    address: str
    started: str
    reason: str | None = None
    """Why it was killed."""

    def status(self) -> Manifest:
        """The pod's status."""
        code = self.process.poll()
        container: Manifest = {"name": self.name, "image": "none", "imageID": "none", "restartCount": 0, "ready": code is None}
        if code is None:
            phase, container["state"] = "Running", {"running": {"startedAt": self.started}}
        else:
            phase = "Failed" if code else "Succeeded"
            reason = self.reason or ("Error" if code else "Completed")
            ended = {"exitCode": 128 - code if code < 0 else code, "reason": reason, "finishedAt": now()}
            container["state"] = {"terminated": ended}
        addresses = {"podIP": self.address, "podIPs": [{"ip": self.address}]}
        conditions = [{"type": "Ready", "status": str(code is None)}]
        return {
            "phase": phase,
            "startTime": self.started,
            "containerStatuses": [container],
            "conditions": conditions,
            **addresses,
        }

    def lines(self, follow: bool) -> Iterator[bytes]:
        """Its output, where asked for until it ends."""
        with self.log.open("rb") as log:
            while True:
                ended = self.process.poll() is not None
                yield log.read()
                if ended or not follow:
                    return
                time.sleep(POLL_S)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def own_command(pod: Manifest) -> list[str]:
    """What the pod says."""
    container = pod["spec"]["containers"][0]
    return [*container.get("command", []), *container.get("args", [])]


class Kubelet:
    """A running node, as a context manager. Logs lie in `folder`. With a network, each pod has an address of its own."""

    def __init__(self, control_plane: ControlPlane, folder: Path, network: PodNetwork | None = None) -> None:
        self.command: Callable[[Manifest], list[str]] = own_command
        """What to run for a pod: a test may play another program."""
        self._api, self._folder, self._network = control_plane.admin, folder, network
        self._containers: dict[str, Container] = {}
        self._told: dict[str, Manifest] = {}
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._log_handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(control_plane.certificate_file, control_plane.key_file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._threads = [threading.Thread(target=target) for target in (self._server.serve_forever, self._run)]

    def __enter__(self) -> Self:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        self._api.apply(node)
        addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
        port = {"kubeletEndpoint": {"Port": self._server.server_port}}
        status = {"addresses": addresses, "daemonEndpoints": port, "conditions": [{"type": "Ready", "status": "True"}]}
        self._api.call("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status})
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ends.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()
        for uid in list(self._containers):
            self._end(uid)
        self._api.call("DELETE", f"/api/v1/nodes/{NODE}")

    def kill(self, pod: str, reason: str) -> None:
        """`kill -9` of a pod's process, as the kernel does for want of memory (OOMKilled)."""
        with self._lock:
            container = next(one for one in self._containers.values() if one.log.stem == pod)
            container.reason = reason
            os.killpg(container.process.pid, signal.SIGKILL)

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
        uid, path = pod["metadata"]["uid"], self._api.path_of({"apiVersion": "v1", "kind": "Pod", **pod})
        node = pod["spec"].get("nodeName")
        if node is None and "deletionTimestamp" not in pod["metadata"]:
            target = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": NODE}}
            self._api.call("POST", f"{path}/binding", {**target, "metadata": {"name": pod["metadata"]["name"]}})
        elif node == NODE and uid not in self._containers and pod["status"]["phase"] == "Pending":
            self._containers[uid] = self._start(pod)
        if uid not in self._containers:
            return
        if "deletionTimestamp" in pod["metadata"]:
            self._end(uid)
        status = self._containers[uid].status()
        if status["phase"] != self._told.get(uid):
            self._api.call("PATCH", f"{path}/status", {"status": status})
            self._told[uid] = status["phase"]
        if "deletionTimestamp" in pod["metadata"]:
            self._api.call("DELETE", path, gracePeriodSeconds="0")

    def _start(self, pod: Manifest) -> Container:
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
        address, command = "127.0.0.1", self.command(pod)
        if self._network:
            address, command = self._network.join(pod, command)
        log = self._folder / f"{name}.log"
        paths = {"PATH": f"{CHECKOUT}/.venv/bin:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT)}
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                cwd=CHECKOUT,
                env={"HOME": os.environ["HOME"], **paths, **environment(pod, address)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Container(container["name"], process, log, address, now())

    def _end(self, uid: str) -> None:
        process = self._containers[uid].process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _log_handler(self) -> type[BaseHTTPRequestHandler]:
        kubelet = self

        class LogHandler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                pod = url.path.split("/")[3]  # /containerLogs/NAMESPACE/POD/CONTAINER
                containers = [one for one in kubelet._containers.values() if one.log.stem == pod]
                self.send_response(200 if containers else 404)
                self.end_headers()
                if containers:
                    for part in containers[0].lines(follow="follow" in parse_qs(url.query)):
                        self.wfile.write(part)
                        self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        return LogHandler


def environment(pod: Manifest, address: str) -> dict[str, str]:
    """The container's variables: plain ones, and those from the pod's own fields."""
    values = {}
    for variable in pod["spec"]["containers"][0].get("env", []):
        if "value" in variable:
            values[variable["name"]] = variable["value"]
        elif "fieldRef" in variable.get("valueFrom", {}):
            values[variable["name"]] = field(pod, variable["valueFrom"]["fieldRef"]["fieldPath"], address)
    return values


def field(pod: Manifest, path: str, address: str) -> str:
    """What the downward API says: `metadata.name`, `metadata.labels['app']`, `status.podIP`."""
    if path == "status.podIP":
        return address
    path, _, key = path.removesuffix("']").partition("['")
    value = pod
    for part in path.split("."):
        value = value[part]
    return str(value.get(key, "")) if key else str(value)
