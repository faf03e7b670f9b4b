# SPDX-License-Identifier: Apache-2.0
"""A machine within this one: network, mounts and processes of its own, all gone when it ends, however the test ends.

    with Machine(init) as machine:
        subprocess.run(machine.inside(["ip", "address"]))

Linux lets only root make one. Its address reaches this machine's `HOST` and back, and nothing outside.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

HOST, ADDRESS = "10.200.0.1", "10.200.0.2"
SERVICES, PODS = "10.96.0.0/16", "10.244.0.0/16"
CGROUP = "audio-gender-node"
LINK = "node-tests"
OWN_FOLDERS = ("/run", "/var/lib/cni", "/var/lib/kubelet")
"""Where its programs leave files, whatever they are told."""
CONTROLLERS = Path("/sys/fs/cgroup")


class Machine:
    """The running machine, as a context manager. `init` is its process 1, which ends on SIGTERM and reaps orphans."""

    def __init__(self, init: Path) -> None:
        self._init = init

    def __enter__(self) -> Self:
        for controller in _controllers():
            (controller / CGROUP).mkdir(exist_ok=True)
        command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "--mount-proc"]
        command += ["--pid", "--fork", "--kill-child=KILL", str(self._init)]
        self._outer = subprocess.Popen(command, start_new_session=True)
        try:
            self._pid = self._wait_for_init()
            for folder in OWN_FOLDERS:
                Path(folder).mkdir(exist_ok=True)
                self.run("mount", "-t", "tmpfs", "tmpfs", folder)
            self._connect()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._outer.kill()  # the kernel ends process 1, and with it all others and every mount
        self._outer.wait()
        for controller in _controllers():
            _remove_cgroup(controller / CGROUP)

    def inside(self, command: Sequence[str | Path]) -> list[str | Path]:
        """A command line that runs a command on the machine; it ends when the process of that line does."""
        enter = ["nsenter", f"--target={self._pid}", "--net", "--mount", "--pid", "--"]
        return [*enter, "setpriv", "--pdeathsig", "KILL", "--", *command]

    def run(self, *command: str | Path, timeout_s: float = 60) -> str:
        """What a command on the machine prints."""
        done = subprocess.run(self.inside(command), capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
        return done.stdout

    def _wait_for_init(self) -> int:
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        for _ in range(100):
            assert self._outer.poll() is None, "no machine could be made: is this root?"
            if (pid := children.read_text().strip()) and Path(f"/proc/{pid}/exe").samefile(self._init):
                return int(pid)
            time.sleep(0.05)
        raise TimeoutError("no process 1 after 5 s")

    def _connect(self) -> None:
        # After a killed test the kernel takes its time to remove it.
        subprocess.run(["ip", "link", "delete", LINK], capture_output=True, timeout=60, check=False)
        ip = ["ip", "-batch", "-"]
        outside = [
            f"link add {LINK} type veth peer name eth0 netns {self._pid}",
            f"address add {HOST}/24 dev {LINK}",
            f"link set {LINK} up",
            *(f"route add {network} via {ADDRESS}" for network in (SERVICES, PODS)),
        ]
        within = [f"address add {ADDRESS}/24 dev eth0", "link set eth0 up", "link set lo up", f"route add default via {HOST}"]
        subprocess.run(ip, input="\n".join(outside), text=True, check=True, timeout=60)
        subprocess.run(self.inside(ip), input="\n".join(within), text=True, check=True, timeout=60)
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")


def _controllers() -> list[Path]:
    """The cgroup hierarchies, of version 1 or 2."""
    if (CONTROLLERS / "cgroup.controllers").exists():
        return [CONTROLLERS]
    return [folder for folder in CONTROLLERS.iterdir() if folder.is_dir() and not folder.is_symlink()]


def _remove_cgroup(folder: Path) -> None:
    """Removes a cgroup and those in it, as soon as their processes are gone."""
    deadline = time.monotonic() + 20
    while folder.exists():
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                Path(path).rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
        time.sleep(0.1)
