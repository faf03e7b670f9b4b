# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes of one node that runs containers: etcd, the control plane, kubelet, containerd, DNS and network policies.

    with Cluster(folder) as cluster:
        cluster.kubectl("get", "nodes")

What a cluster of kind has beside: a provisioner of volumes (`volumes.py`), and a way to the outside.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from api import Api, wait_until
from argo_workflows import build_argo
from control_plane import ADMIN_TOKEN, write_certificate, write_kubeconfig
from images import load_programs
from machine import ADDRESS, CGROUP, PODS, SERVICES, Machine
from processes import CACHE, Processes, answers
from programs import CONTROL_PLANE, build_programs

HERE = Path(__file__).parent
NODE = "node1"
NODE_PROGRAMS = {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kubelet", "kube-proxy", "kube-scheduler", "kubectl")}
OWN_PROGRAMS = {
    "pause": "./pause",
    "coredns": "./coredns",
    "kube-network-policies": "sigs.k8s.io/kube-network-policies/cmd",
    "versitygw": "github.com/versity/versitygw/cmd/versitygw",
}
IMAGES = CACHE / "node-images"
"""containerd's store, which is kept: an image is loaded once."""
TOOLS = ("containerd", "runc", "buildah", "mmdebstrap", "iptables", "nsenter", "setpriv", "ip", "/usr/lib/cni/bridge")
QUEUE = "98"
KUBELET_PORT = 10250


def missing() -> str:
    """What this machine lacks for a node, in words; empty where it lacks nothing."""
    absent = [tool for tool in (*TOOLS, "go") if not shutil.which(tool)]
    return " and ".join((["root"] if os.geteuid() else []) + absent)


class Cluster:
    """A running cluster, as a context manager. Its state and logs lie in `folder`, which must be new."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kubernetes = build_programs(CONTROL_PLANE | NODE_PROGRAMS)
        self.programs = kubernetes | build_programs(OWN_PROGRAMS, HERE) | build_argo()
        self.machine = Machine(self.programs["pause"])
        self.processes = Processes(folder)
        self._certificate, self._key = write_certificate(folder, ADDRESS, SERVICES.replace("0.0/16", "0.1"))
        self.admin = Api(f"https://{ADDRESS}:6443", self._certificate, ADMIN_TOKEN)
        self.kubeconfig = write_kubeconfig(folder / "admin.json", self.admin, "default")

    def kubectl(self, *arguments: str | Path, input: str | None = None, timeout_s: float = 120) -> str:
        """What kubectl prints.

        Raises:
            RuntimeError: it failed; the message is what it said.
        """
        done = subprocess.run(
            [self.programs["kubectl"], *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """The objects that `kubectl get …` finds."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def __enter__(self) -> Self:
        self.machine.__enter__()
        try:
            self._start_control_plane()
            self.start_containerd()
            load_programs(self)
            self.start_kubelet()
            self._start("kube-proxy", f"--config={self._write('proxy.yaml', _proxy(self._as('proxy')))}")
            self._add_services()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.machine.__exit__(kind, error, trace)
        self.processes.stop()

    def start_containerd(self) -> None:
        """Starts the container runtime, which finds the containers again that ran."""
        plugins = self.folder / "cni"
        plugins.mkdir(exist_ok=True)
        self._write("cni/10-pods.conflist", _network(self.folder / "addresses"))
        path = self.folder / "containerd.toml"
        path.write_text(_CONTAINERD.format(root=IMAGES, state=self.folder / "run", network=plugins, socket=self.socket))
        log = self.folder / "containerd.log"
        before = log.stat().st_size if log.exists() else 0
        self._start("containerd", f"--config={path}")
        # `ctr` is answered before a kubelet is, and a kubelet that comes too early ends. This is the last line of its start.
        self.processes.wait_until(lambda: b"Start streaming server" in log.read_bytes()[before:], "containerd")

    def start_kubelet(self) -> None:
        """Starts the kubelet, and waits until the node is ready."""
        (self.folder / "resolv.conf").write_text("")
        self._start(
            "kubelet",
            *(f"--config={self._write('kubelet.yaml', _kubelet(self))}", f"--kubeconfig={self._as('kubelet')}"),
            *(f"--root-dir={self.folder}/kubelet", f"--hostname-override={NODE}", f"--node-ip={ADDRESS}"),
        )
        # The node is called ready for a while after its kubelet was killed.
        self.processes.wait_until(lambda: answers(KUBELET_PORT, ADDRESS) and self.is_ready(), "node")

    def is_ready(self) -> bool:
        """Whether the node says that it is ready."""
        nodes = self.admin.items("/api/v1/nodes")
        conditions = [condition for node in nodes for condition in node["status"].get("conditions", [])]
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def certificate(self) -> Path:
        return self._certificate

    def ctr(self, *arguments: str | Path, check: bool = True, timeout_s: float = 900) -> "subprocess.CompletedProcess[str]":
        """containerd's own command line, in the namespace of Kubernetes."""
        command = ["ctr", f"--address={self.socket}", "--namespace=k8s.io", *arguments]
        inside = self.machine.inside(command)
        return subprocess.run(inside, capture_output=True, text=True, check=check, timeout=timeout_s)

    def _start_control_plane(self) -> None:
        tokens = [f"{ADMIN_TOKEN},admin,admin,system:masters", f"kubelet,system:node:{NODE},node,system:nodes"]
        (self.folder / "tokens.csv").write_text("\n".join([*tokens, "proxy,system:kube-proxy,proxy", ""]))
        etcd, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        self._start(
            "etcd",
            *(f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync", f"--initial-cluster=default={peer}"),
            *(f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        )
        certificate, key = self._certificate, self._key
        self._start(
            "kube-apiserver",
            *(f"--etcd-servers={etcd}", f"--service-cluster-ip-range={SERVICES}", "--allow-privileged"),
            *("--bind-address=0.0.0.0", f"--advertise-address={ADDRESS}", "--secure-port=6443"),
            *(f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}", f"--client-ca-file={certificate}"),
            *(f"--token-auth-file={self.folder}/tokens.csv", "--authorization-mode=Node,RBAC"),
            *("--service-account-issuer=https://kubernetes.default.svc.cluster.local", f"--service-account-key-file={key}"),
            *(f"--service-account-signing-key-file={key}", "--kubelet-preferred-address-types=InternalIP"),
            *(f"--kubelet-client-certificate={certificate}", f"--kubelet-client-key={key}"),
        )
        self.processes.wait_until(self.admin.is_ready, "API server")
        client = [f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
        key_options = [f"--root-ca-file={certificate}", f"--service-account-private-key-file={key}"]
        self._start("kube-controller-manager", *client, *key_options, "--use-service-account-credentials")
        self._start("kube-scheduler", *client)

    def _add_services(self) -> None:
        """DNS, a storage class, and network policies that hold."""
        # The kernel has no queue in nftables, with which kube-network-policies would add these itself. Root's packets are
        # the kubelet's probes.
        queue = ["-s", PODS, "-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE", "--queue-num", QUEUE]
        for chain in ("INPUT", "POSTROUTING"):
            owner = ["-m", "owner", "!", "--uid-owner", "0"] if chain == "POSTROUTING" else []
            self.machine.run("iptables", "-t", "mangle", "-A", chain, *owner, *queue)
        self.kubectl("apply", "-f", HERE / "cluster.yaml")
        ready = "--timeout=180s"
        self.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", ready, timeout_s=200)
        self.kubectl("-n", "kube-system", "rollout", "status", "daemonset/kube-network-policies", ready, timeout_s=200)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until(lambda: self.admin.exists(account), "service account")

    def _as(self, token: str) -> Path:
        return write_kubeconfig(self.folder / f"{token}.json", Api(self.admin.url, self._certificate, token), "default")

    def _start(self, name: str, *options: str) -> None:
        self.processes.start(name, self.machine.inside([self.programs.get(name, name), *options]))

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(content) if name.endswith("conflist") else yaml.safe_dump(content))
        return path


# Without CAP_SYS_RESOURCE, runc cannot lower a process's OOM score.
_CONTAINERD = """\
version = 2
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".containerd]
discard_unpacked_layers = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
path = "{state}/opt"
"""


def _network(addresses: Path) -> dict[str, Any]:
    """Pods on one bridge, each with an address."""
    ranges = [[{"subnet": PODS}]]
    ipam = {"type": "host-local", "dataDir": str(addresses), "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _kubelet(cluster: Cluster) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "containerRuntimeEndpoint": f"unix://{cluster.socket}",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(cluster.certificate)}},
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [SERVICES.replace("0.0/16", "0.10")],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{cluster.folder}/resolv.conf",
        "oomScoreAdj": 0,
        "failSwapOn": False,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "500Mi", "imagefs.available": "500Mi"},
        "evictionPressureTransitionPeriod": "10s",  # what shares the disk frees it again
        "imageGCHighThresholdPercent": 100,  # what was loaded must stay
        "podLogsDir": f"{cluster.folder}/pods",
        "syncFrequency": "10s",
    }


def _proxy(kubeconfig: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0},
    }
