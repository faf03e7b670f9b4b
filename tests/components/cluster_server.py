# SPDX-License-Identifier: Apache-2.0
"""An API server's part in training workers, over real HTTP: it keeps objects, and a test plays what the cluster does to them."""

import datetime
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import kubernetes_validate

VERBS = {"POST": "create", "GET": "get", "PATCH": "patch", "DELETE": "delete"}
NAMESPACE = "audio-gender"
RUN_ID = "6c1f8a52-5b0e-4a5c-9f5a-0f2d1c3b4a5e"
STEP = "audio-gender-x7k2p-system-container-impl-1234567890"
SECRET = {"secretKeyRef": {"name": "audio-gender-object-store", "key": "secret_access_key"}}
PATH = re.compile(rf"/apis?/(?:batch/)?v1/namespaces/{NAMESPACE}/(?P<resource>\w+)(?:/(?P<name>[^/]+))?(?P<log>/log)?$")


def step_pod(shared_folder: Path) -> dict:
    """The Pod of a step as Kubeflow and Argo make it."""
    own = {"fieldRef": {"fieldPath": "metadata.labels['pipeline/runid']"}}
    main = {
        "name": "main",
        "image": "registry.example/audio-gender@sha256:" + "0" * 64,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/var/run/argo/argoexec", "emissary", "--", "/kfp-launcher/launch"],
        "env": [
            {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "ARGO_TEMPLATE", "value": "{}"},
            {"name": "PIPELINE_RUN_ID", "valueFrom": own},
            {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": SECRET},
            {"name": "WANDB_MODE", "value": "offline"},
        ],
        "envFrom": [{"configMapRef": {"name": "metadata-grpc-configmap", "optional": True}}],
        "resources": {"limits": {"cpu": "4", "memory": "8Gi"}, "requests": {"cpu": "4", "memory": "8Gi"}},
        "volumeMounts": [
            {"name": "kfp-launcher", "mountPath": "/kfp-launcher"},
            {"name": "training", "mountPath": str(shared_folder)},
            {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": STEP, "namespace": NAMESPACE, "uid": "0b9d7b9e-1111-4222-8333-444455556666"},
        "spec": {
            "containers": [{"name": "wait", "image": "argoexec"}, main],
            "serviceAccountName": "pipeline-runner",
            "nodeName": "node-3",
            "nodeSelector": {"pool": "training"},
            "tolerations": [{"key": "training", "operator": "Exists", "effect": "NoSchedule"}],
            "imagePullSecrets": [{"name": "pull"}],
            "securityContext": {"fsGroup": 1000},
            "volumes": [
                {"name": "kfp-launcher", "emptyDir": {}},
                {"name": "training", "persistentVolumeClaim": {"claimName": "audio-gender-training"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
        },
    }


class ClusterServer:
    """Pods, Services, Jobs and events of one namespace, by resource and name.

    `refusals` are answers (status, message) by permission, such as `create jobs`; `asked` counts the requests likewise. `played`
    is called in a thread of its own with each Job that is created.
    """

    def __init__(self, step: dict) -> None:
        self.objects: dict[str, dict[str, dict]] = {
            "pods": {step["metadata"]["name"]: step},
            "services": {},
            "jobs": {},
            "events": {},
        }
        self.refusals: dict[str, tuple[int, str]] = {}
        self.asked: Counter[str] = Counter()
        self.played: Callable[[dict], None] = lambda job: None
        self.logs: dict[str, list[str]] = {}
        self.hang_ups_after: int | None = None
        """Lines after which a log's connection breaks."""
        self.removed: list[str] = []
        self.created: list[dict] = []
        self._pods_made = 0

        class Handler(BaseHTTPRequestHandler):
            cluster = self

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.cluster.answer(self)

            do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # What the cluster does

    def pod(
        self, index: int, name: str | None = None, phase: str = "Running", state: dict | None = None, **status: object
    ) -> str:
        """Makes a worker's Pod, or changes the status of the one of that name; returns its name."""
        (job,) = self.objects["jobs"].values()
        if name is None:
            self._pods_made += 1
            name = f"{job['metadata']['name']}-{index}-{self._pods_made:05d}"
            made = datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=self._pods_made)
            metadata = {
                "name": name,
                "uid": f"uid-of-{name}",
                "creationTimestamp": f"{made.isoformat()}Z",
                "labels": {"batch.kubernetes.io/job-name": job["metadata"]["name"]},
                "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
            }
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": job["spec"]["template"]["spec"]}
        else:
            pod = self.objects["pods"][name]
        container = {"containerStatuses": [{"name": "worker", "state": state}]} if state else {}
        self.objects["pods"][name] = {**pod, "status": {"phase": phase, **container, **status}}
        return name

    def failed(self, index: int, name: str | None = None, status: int = 1, message: str = "", reason: str = "Error") -> str:
        """Makes it a Pod whose container has ended."""
        terminated = {"exitCode": status, "message": message, "reason": reason}
        return self.pod(index, name, "Failed", {"terminated": terminated})

    def job_condition(self, type: str, reason: str = "", message: str = "") -> None:
        (job,) = self.objects["jobs"].values()
        job["status"] = {"conditions": [{"type": type, "status": "True", "reason": reason, "message": message}]}

    def event(self, name: str, reason: str, message: str) -> None:
        self.objects["events"][f"{name}.{reason}"] = {
            "metadata": {},
            "involvedObject": {"name": name},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }

    def write(self, pod: str, *lines: str) -> None:
        """Adds to a Pod's log, each line with its time in the kubelet's way."""
        for line in lines:
            self.logs.setdefault(pod, []).append(
                f"{datetime.datetime.now().isoformat()}{time.monotonic_ns() % 1000:03d}Z {line}\n"
            )
            time.sleep(1e-5)

    # What the API server does

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlparse(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        found = PATH.match(url.path)
        assert found, url.path
        resource, name = found["resource"], found["name"]
        verb = VERBS[request.command] if name or request.command != "GET" else "list"
        permission = f"{verb} {resource}{found['log'] or ''}"
        self.asked[permission] += 1
        body = json.loads(request.rfile.read(int(request.headers.get("Content-Length") or 0)) or "null")
        if permission in self.refusals:
            self._send(request, *self.refusals[permission])
        elif found["log"]:
            self._send_log(request, name, query)
        elif verb == "list":
            self._send(request, 200, {"items": [one for one in list(self.objects[resource].values()) if _selected(one, query)]})
        elif verb == "create":
            self._create(request, resource, body)
        elif name not in self.objects[resource]:
            self._send(request, 404, f'{resource} "{name}" not found')
        elif verb == "delete":
            self._delete(resource, name)
            self._send(request, 200, {})
        else:
            if verb == "patch":
                self.objects[resource][name]["spec"] |= body["spec"]
            self._send(request, 200, self.objects[resource][name])

    def _create(self, request: BaseHTTPRequestHandler, resource: str, body: dict) -> None:
        kubernetes_validate.validate(body, "1.37", strict=True)
        name = body["metadata"]["name"]
        if name in self.objects[resource]:
            self._send(request, 409, f'{resource} "{name}" already exists')
            return
        self.objects[resource][name] = body
        self.created.append(body)
        self._send(request, 201, body)
        if resource == "jobs":
            threading.Thread(target=self.played, args=(body,), daemon=True).start()

    def _delete(self, resource: str, name: str) -> None:
        del self.objects[resource][name]
        self.removed.append(resource)
        if resource == "jobs":
            pods = self.objects["pods"]
            label = ("batch.kubernetes.io/job-name", name)
            self.objects["pods"] = {
                key: pod for key, pod in pods.items() if label not in pod["metadata"].get("labels", {}).items()
            }

    def _send(self, request: BaseHTTPRequestHandler, status: int, answer: dict | str) -> None:
        if isinstance(answer, str):
            answer = {"kind": "Status", "status": "Failure", "code": status, "message": answer}
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.end_headers()
        request.wfile.write(json.dumps(answer).encode())

    def _send_log(self, request: BaseHTTPRequestHandler, name: str, query: dict[str, str]) -> None:
        request.send_response(200)
        request.end_headers()
        sent = 0
        while True:
            lines = self.logs.get(name, [])[sent:]
            for line in lines:
                request.wfile.write(line.encode())
                sent += 1
                if sent == self.hang_ups_after:
                    self.hang_ups_after = None
                    return
            request.wfile.flush()
            pod = self.objects["pods"].get(name)
            running = pod is not None and pod["status"]["phase"] == "Running"
            if not lines and (query.get("follow") != "true" or not running):
                return
            time.sleep(0.01)


def _selected(one: dict, query: dict[str, str]) -> bool:
    if "labelSelector" in query:
        label, _, value = query["labelSelector"].partition("=")
        return one["metadata"].get("labels", {}).get(label) == value
    _, _, value = query["fieldSelector"].partition("=")
    return one["involvedObject"]["name"] == value


def nothing_is_left(server: ClusterServer) -> bool:
    return not server.objects["jobs"] and not server.objects["services"] and list(server.objects["pods"]) == [STEP]


def eventually(condition: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
