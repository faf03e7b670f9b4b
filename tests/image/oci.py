# SPDX-License-Identifier: Apache-2.0
"""A container of a pod as the kubelet would have it run: its manifest and the image's configuration, as runc reads them."""

import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

Manifest = dict[str, Any]
ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "k8s/base", ROOT / "k8s/components/flink"]
"""Where the manifests are of what runs the image."""
OVERLAY = ROOT / "k8s/overlays/local"
DEVICES = [
    ("/proc", "proc", []),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
]
HOST_NAME = "pod"
UNITS = {"": 1, "m": 1, "Mi": 1 << 20, "Gi": 1 << 30}


def pods() -> Iterator[Manifest]:
    """Every pod's specification in the folders of manifests."""
    for file in sorted(file for folder in FOLDERS for file in folder.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield from _pods_in(document)


def _pods_in(node: object) -> Iterator[Manifest]:
    if isinstance(node, dict) and "containers" in node:
        yield node
    elif isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _pods_in(part)


def container_of(name: str) -> tuple[Manifest, Manifest]:
    """The pod and the container of this name."""
    found = [
        (pod, container)
        for pod in pods()
        for container in [*pod.get("initContainers", []), *pod["containers"]]
        if container["name"] == name
    ]
    (one,) = found
    return one


@dataclass(frozen=True)
class Image:
    """A built image: its root file system, and its configuration."""

    root: Path
    config: Manifest
    size: str
    """All layers, unpacked, in words."""


class Container:
    """One container, which runs in a `with` block.

    Args:
        image: what it runs.
        pod, container: their specifications in a manifest.
        volumes: folders of this machine for the pod's volumes, by the volume's name; an emptyDir without one is a tmpfs.
        environment: what comes from ConfigMaps and Secrets.
        mounts: further folders, by their path in the container.
        network_of: a container to share the network with, as in one pod; without it there is loopback only.
    """

    def __init__(
        self,
        image: Image,
        pod: Manifest,
        container: Manifest,
        folder: Path,
        *,
        volumes: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
        mounts: Mapping[str, Path] | None = None,
        network_of: "Container | None" = None,
    ) -> None:
        self._name = f"test-image-{uuid.uuid4().hex[:8]}"
        self._bundle = folder / self._name
        self.log = folder / f"{self._name}.log"
        self._pid_file = self._bundle / "pid"
        values = {**dict(variable.split("=", 1) for variable in image.config["Env"]), **(environment or {})}
        values |= {variable["name"]: variable["value"] for variable in container.get("env", []) if "value" in variable}
        security = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
        line = [_expand(word, values) for word in [*container.get("command", []), *container.get("args", [])]]
        self._specification = {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False,
                "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
                "args": line or image.config["Cmd"],
                "env": [f"{name}={value}" for name, value in values.items()],
                "cwd": image.config["WorkingDir"],
                "capabilities": {} if security["capabilities"] == {"drop": ["ALL"]} else None,
                "noNewPrivileges": security["allowPrivilegeEscalation"] is False,
            },
            "root": {"path": str(image.root), "readonly": security["readOnlyRootFilesystem"]},
            "hostname": HOST_NAME,
            "mounts": [
                *({"destination": to, "type": kind, "source": kind, "options": options} for to, kind, options in DEVICES),
                _bind(self._bundle / "hosts", "/etc/hosts", "ro"),
                *_mounts(pod, container, volumes or {}),
                *(_bind(source, to, "rw") for to, source in (mounts or {}).items()),
            ],
            "linux": {
                "cgroupsPath": f"/{self._name}",
                "namespaces": [
                    *({"type": kind} for kind in ("pid", "ipc", "uts", "mount")),
                    {"type": "network"} | ({"path": network_of.network} if network_of else {}),
                ],
                "resources": {"memory": {"limit": _bytes(container["resources"]["limits"]["memory"])}},
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        }

    def __enter__(self) -> Self:
        self._bundle.mkdir(parents=True)
        (self._bundle / "hosts").write_text(f"127.0.0.1 localhost {HOST_NAME}\n")
        (self._bundle / "config.json").write_text(json.dumps(self._specification))
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                ["runc", "run", f"--bundle={self._bundle}", f"--pid-file={self._pid_file}", self._name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["runc", "kill", "--all", self._name, "KILL"], capture_output=True, timeout=60)
        self._process.wait(60)
        subprocess.run(["runc", "delete", "--force", self._name], capture_output=True, timeout=60)

    def wait(self, timeout_s: float = 600) -> tuple[int, str]:
        """Its exit status and what it wrote, when it has ended."""
        return self._process.wait(timeout_s), self.log.read_text()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = 120) -> None:
        """Waits for `ready`; a container that ends meanwhile, or the time that runs out, is an error that shows its log."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.2)

    @property
    def network(self) -> str:
        """Where its network namespace is."""
        return f"/proc/{self._pid_file.read_text()}/ns/net"

    def connects(self, port: int) -> bool:
        """Whether a TCP probe of the kubelet's would find the port open."""
        if not self._pid_file.exists():
            return False
        probe = ["nsenter", f"--net={self.network}", "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"]
        return subprocess.run(probe, capture_output=True, timeout=60).returncode == 0

    def http(self, path: str, body: bytes | None = None) -> str | None:
        """What the port 8501 of the container answers; None where it does not, or refuses."""
        program = "import sys, urllib.request as h; data = sys.stdin.buffer.read() or None"
        ask = f"{program}; print(h.urlopen('http://127.0.0.1:8501{path}', data, timeout=60).read().decode())"
        command = ["nsenter", f"--net={self.network}", sys.executable, "-c", ask]
        done = subprocess.run(command, input=body or b"", capture_output=True, timeout=120)
        return done.stdout.decode() if done.returncode == 0 else None


def _expand(word: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], word)


def _mounts(pod: Manifest, container: Manifest, volumes: Mapping[str, Path]) -> Iterator[Manifest]:
    kinds = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        name, to = mount["name"], mount["mountPath"]
        if name in volumes:
            yield _bind(volumes[name], to, "ro" if mount.get("readOnly") else "rw")
        else:
            size = _bytes(kinds[name]["emptyDir"]["sizeLimit"])
            options = ["nosuid", "nodev", "mode=1777", f"size={size}"]
            yield {"destination": to, "type": "tmpfs", "source": "tmpfs", "options": options}


def _bind(source: Path, to: str, how: str) -> Manifest:
    return {"destination": to, "type": "bind", "source": str(source.resolve()), "options": ["bind", how]}


def _bytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)(\w*)", quantity)
    assert found
    return int(found[1]) * UNITS[found[2]]
