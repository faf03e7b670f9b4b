# SPDX-License-Identifier: Apache-2.0
"""Addresses and host names for the pods of `kubelet.py`: a network namespace for each, and a bridge between them.

with PodNetwork(folder) as network:
    address, command = network.join(pod, ["python", "-m", "http.server"])

Pods reach each other and what listens at `listen()`, nothing else. `/etc/hosts`, which all of them see, says what the
cluster's DNS would: the names below a headless Service. Linux lets only root make such namespaces.
"""

import ctypes
import itertools
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from api import Manifest

HOST = "10.88.0.1"
CLONE_NEWNET = 0x40000000
BRIDGE = f"""\
ip link add name pods type bridge && ip address add {HOST}/16 dev pods && ip link set pods up && echo up && exec sleep infinity
"""
JOIN = """\
set -e
hosts=$1 bridge=$2 peer=$3 address=$4 name=$5
shift 5
mount --bind "$hosts" /etc/hosts
ip link set lo up
ip link add name eth0 type veth peer name "$peer" netns "$bridge"
nsenter --net="/proc/$bridge/ns/net" ip link set "$peer" master pods up
ip address add "$address/16" dev eth0
ip link set eth0 up
hostname "$name"
exec "$@"
"""


class PodNetwork:
    """A running network, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._hosts = folder / "hosts"
        self._names: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self._hosts.write_text("127.0.0.1 localhost\n")
        command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "sh", "-c", BRIDGE]
        self._bridge = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert self._bridge.stdout is not None
        assert self._bridge.stdout.readline() == b"up\n", "no namespace or no bridge: is this root?"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.killpg(self._bridge.pid, signal.SIGKILL)
        self._bridge.communicate()

    def listen(self) -> socket.socket:
        """A listening socket at an address that the pods reach; this process accepts, and is itself where it was."""

        def enter_and_listen() -> socket.socket:
            with Path(f"/proc/{self._bridge.pid}/ns/net").open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return socket.create_server((HOST, 0))

        # A thread has a namespace of its own; the socket stays in the one where it was made.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter_and_listen).result()

    def join(self, pod: Manifest, command: list[str]) -> tuple[str, list[str]]:
        """Returns the pod's address, and its command in a namespace of its own. Its names lead there from now on."""
        number = next(self._numbers)
        address = f"10.88.{number // 250}.{number % 250 + 1}"
        spec, metadata = pod["spec"], pod["metadata"]
        name = spec.get("hostname", metadata["name"])
        if "subdomain" in spec:
            short = f"{name}.{spec['subdomain']}"
            domains = ["", f".{metadata['namespace']}", f".{metadata['namespace']}.svc"]
            domains.append(f"{domains[-1]}.cluster.local")
            # A pod that comes in another's stead has its name.
            self._names[f"{metadata['namespace']}/{short}"] = " ".join([address, *(short + domain for domain in domains), name])
            # In place: the pods have this very file.
            self._hosts.write_text("\n".join(["127.0.0.1 localhost", *self._names.values(), ""]))
        settings = [self._hosts, self._bridge.pid, f"pod{number}", address, name]
        return address, ["unshare", "--net", "--mount", "--uts", "sh", "-c", JOIN, "sh", *map(str, settings), *command]
