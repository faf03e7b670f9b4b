# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' control plane without containers: etcd, kube-apiserver and kube-controller-manager as processes on 127.0.0.1.

    with ControlPlane(folder) as control_plane:
        control_plane.admin.apply(manifest)
        control_plane.service_account("default", "robot").get("/api/v1/namespaces/default/pods")

Authorization is RBAC, and Pod Security is enforced where a namespace's labels say so. There are no nodes: see `kubelet.py`.
"""

import datetime
import ipaddress
import json
from pathlib import Path
from types import TracebackType
from typing import Self

from api import Api
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from processes import Processes, free_port
from programs import build_programs

# Of a server that lives for one test on the loopback interface.
ADMIN_TOKEN = "admin"
CONTROLLERS = [
    *("garbage-collector-controller", "job-controller", "namespace-controller", "pod-garbage-collector-controller"),
    *("serviceaccount-controller", "root-ca-certificate-publisher-controller"),
    *("resourcequota-controller", "ttl-after-finished-controller"),
]


def write_certificate(folder: Path, *addresses: str) -> tuple[Path, Path]:
    """A certificate of these addresses that signs itself, and its key, which signs service accounts' tokens too.

    To a server that trusts it, who shows it may do everything.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    names = {x509.NameOID.ORGANIZATION_NAME: "system:masters", x509.NameOID.COMMON_NAME: "tests"}
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in names.items()])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*encoding))
    return certificate_file, key_file


def write_kubeconfig(path: Path, user: Api, namespace: str) -> Path:
    """What a client needs to be this user of the API."""
    cluster = {"server": user.url, "certificate-authority": str(user.ca_file)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": user.token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user", "namespace": namespace}}],
        "current-context": "tests",
    }
    path.write_text(json.dumps(config))
    return path


class ControlPlane:
    """A running control plane, as a context manager. Logs, certificates and etcd's data lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = build_programs()
        self._processes = Processes(folder)
        self._port, self._etcd_port, self._peer_port = (free_port() for _ in range(3))
        self.certificate_file, self.key_file = write_certificate(folder, "127.0.0.1")
        self.admin = self.as_user(ADMIN_TOKEN)

    def as_user(self, token: str) -> Api:
        return Api(f"https://127.0.0.1:{self._port}", self.certificate_file, token)

    def service_account(self, namespace: str, name: str) -> Api:
        """The API as a pod of this service account sees it."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return self.as_user(self.admin.call("POST", path, request)["status"]["token"])

    def write_kubeconfig(self, path: Path, token: str, namespace: str) -> Path:
        """What a client needs to be this user."""
        return write_kubeconfig(path, self.as_user(token), namespace)

    def __enter__(self) -> Self:
        try:
            self._start_etcd()
            self._start_apiserver()
            self._processes.wait_until(self.admin.is_ready, "API server")
            self._start_controller_manager()
            accounts = "/api/v1/namespaces/default/serviceaccounts/default"
            self._processes.wait_until(lambda: self.admin.exists(accounts), "controller manager")
        except BaseException:
            self._processes.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._processes.kill("kube-apiserver")  # which would wait for its watches to end
        self._processes.stop()

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        self._start(
            "etcd",
            *(f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync", f"--initial-cluster=default={peer}"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        )

    def _start_apiserver(self) -> None:
        (self.folder / "tokens.csv").write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
        self._start(
            "kube-apiserver",
            *(f"--etcd-servers=http://127.0.0.1:{self._etcd_port}", "--service-cluster-ip-range=10.0.0.0/24"),
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self._port}"),
            "--endpoint-reconciler-type=none",  # a loopback address is no endpoint
            *(f"--tls-cert-file={self.certificate_file}", f"--tls-private-key-file={self.key_file}"),
            *(f"--token-auth-file={self.folder}/tokens.csv", "--authorization-mode=RBAC"),
            *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={self.key_file}"),
            f"--service-account-signing-key-file={self.key_file}",
            *("--kubelet-preferred-address-types=InternalIP", f"--kubelet-certificate-authority={self.certificate_file}"),
        )

    def _start_controller_manager(self) -> None:
        kubeconfig = self.write_kubeconfig(self.folder / "admin.json", ADMIN_TOKEN, "default")
        self._start(
            "kube-controller-manager",
            *(f"--kubeconfig={kubeconfig}", f"--controllers={','.join(CONTROLLERS)}", "--leader-elect=false"),
            *(f"--root-ca-file={self.certificate_file}", "--secure-port=0"),
        )

    def _start(self, program: str, *options: str) -> None:
        self._processes.start(program, [self._programs[program], *options])
