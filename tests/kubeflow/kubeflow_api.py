# SPDX-License-Identifier: Apache-2.0
"""A small Kubeflow Pipelines on 127.0.0.1: the calls of API v2beta1 that `submit` makes, with the client's own models.

What it answers was compared with Kubeflow 2.17.0's API server, run once by hand.
"""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api

BASE = "/apis/v2beta1"
RUNS_V1 = "/apis/v1beta1/runs/"
STATES = {"Succeeded": "SUCCEEDED", "Failed": "FAILED", "Error": "FAILED", "Running": "RUNNING", "Pending": "PENDING"}
"""Kubeflow's words for Argo's."""
EPOCH = datetime.fromtimestamp(0, UTC)


class Refused(Exception):  # noqa: N818
    """What the server says instead of an answer."""

    def __init__(self, status: int, body: dict[str, Any] | str | None) -> None:
        self.status, self.body = status, body


def grpc_error(status: int, message: str) -> Refused:
    """An error as the gateway words it, with the stack trace that Kubeflow hands out."""
    trace = "\ngithub.com/kubeflow/pipelines/backend/src/common/util.Wrap\n\t/go/src/error.go:361"
    return Refused(status, {"error": message + trace, "code": 13, "message": message + trace, "details": []})


class KubeflowApi:
    """The server, as a context manager. A test reads `pipelines`, `versions`, `experiments` and `runs`, and sets the rest.

    `refuse` is raised at any call, or at the one of that path; `history` is what a run becomes, call by call; `workflows` are
    Argo's, by run; `logs` and
    `events` are those of pods, by name. While `silent` is set there is no answer, and while `drips` is, a byte of it in a while.
    With `pages` it is Kubeflow's UI, behind which the API has fewer calls and `/k8s/…` some more (frontend/server/app.ts).
    """

    def __init__(self, multi_user: bool = False, pages: bool = True) -> None:
        self.multi_user = multi_user
        self.pages = pages
        self.pipelines: list[api.V2beta1Pipeline] = []
        self.versions: list[api.V2beta1PipelineVersion] = []
        self.experiments: list[api.V2beta1Experiment] = []
        self.runs: list[api.V2beta1Run] = []
        self.headers: list[dict[str, str]] = []
        self.history: list[Callable[[KubeflowApi, api.V2beta1Run], None]] = []
        self.workflows: dict[str, dict[str, Any]] = {}
        self.refuse: dict[str, Refused] = {}
        self.logs: dict[str, str | bytes] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.silent = threading.Event()
        self.drips = threading.Event()
        self._models = api.ApiClient()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._serve()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Serves again at the same port, after `stop`."""
        self._http = ThreadingHTTPServer(self._http.server_address, self._handler())
        self._serve()

    def stop(self) -> None:
        """Refuses connections from here on, and breaks those that are open."""
        self._http.shutdown()
        self._http.server_close()

    def _serve(self) -> None:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        if refused := self.refuse.get("") or self.refuse.get(path):
            raise refused
        if path.startswith("/apis/v1alpha1/" if self.pages else "/k8s/"):
            raise Refused(404, f"Cannot GET {path}")
        if path.endswith("/log"):
            log = self.log_of(path.split("/")[-2])
            return '{"error_message":"Failed to read logs for run"}' if log is None else log
        if path == "/k8s/pod/logs":
            log = self.log_of(query["podname"])
            if log is None:
                raise Refused(500, "Could not get main container logs: S3Error: The specified key does not exist.")
            return log
        if path.startswith(RUNS_V1):
            workflow = self.workflows.get(path.removeprefix(RUNS_V1))
            manifest = json.dumps(workflow) if workflow else ""
            return {"run": {"id": path.removeprefix(RUNS_V1)}, "pipeline_runtime": {"workflow_manifest": manifest}}
        if path == "/k8s/pod/events":
            return json.dumps({"kind": "EventList", "items": self.events_of(query["podname"])})
        if path.endswith("/healthz"):
            return api.V2beta1GetHealthzResponse(multi_user=self.multi_user, pipeline_store="database")
        if path == "/pipelines/upload_version":
            return self._upload_version(query, body)
        if method == "GET":
            return self._get(path, query)
        return self._create(path, json.loads(body))

    def report(self, run: api.V2beta1Run, workflow: dict[str, Any]) -> None:
        """What Kubeflow's persistence agent does: the run gets the state of its Argo workflow."""
        self.workflows[run.run_id] = workflow
        status = workflow.get("status", {})
        run.state = STATES.get(status.get("phase", ""), "PENDING")
        if status.get("finishedAt"):
            run.finished_at = _time(status["finishedAt"])

    def log_of(self, pod: str) -> str | bytes | None:
        """A pod's log, or None."""
        return self.logs.get(pod)

    def events_of(self, pod: str) -> list[dict[str, Any]]:
        """What Kubernetes notes about a pod."""
        return self.events.get(pod, [])

    def _get(self, path: str, query: dict[str, str]) -> Any:
        if path == "/pipelines":
            return api.V2beta1ListPipelinesResponse(pipelines=self._listed(self.pipelines, query))
        if path == "/experiments":
            return api.V2beta1ListExperimentsResponse(experiments=self._listed(self.experiments, query))
        if path.endswith("/versions"):
            of_pipeline = [version for version in self.versions if version.pipeline_id == path.split("/")[2]]
            return api.V2beta1ListPipelineVersionsResponse(pipeline_versions=_named(of_pipeline, query))
        if path == "/runs":
            if self.multi_user and not query.get("namespace"):
                raise grpc_error(400, "Invalid input error: In multi-user mode, listing needs a namespace")
            of_experiment = [run for run in self.runs if run.experiment_id == query["experiment_id"]]
            assert query["sort_by"] == "created_at desc"
            newest = sorted(of_experiment, key=lambda run: run.created_at, reverse=True)
            return api.V2beta1ListRunsResponse(runs=newest[: int(query["page_size"])])
        for run in self.runs:
            if path == f"/runs/{run.run_id}":
                if self.history:
                    self.history.pop(0)(self, run)
                return run
        raise grpc_error(404, f"Failed to get a run: ResourceNotFoundError: Run {path.rpartition('/')[2]} not found")

    def _listed(self, things: list[Any], query: dict[str, str]) -> list[Any]:
        if self.multi_user and not query.get("namespace"):
            raise grpc_error(400, "Invalid input error: In multi-user mode, listing needs a namespace")
        return _named([thing for thing in things if thing.namespace == query.get("namespace")], query)

    def _create(self, path: str, body: dict[str, Any]) -> Any:
        there = len(self.pipelines if path == "/pipelines" else self.experiments)
        name = f"{path.strip('/').rstrip('s')}-{there + 1}"
        now = datetime.now(UTC)
        if path == "/pipelines":
            self.pipelines.append(api.V2beta1Pipeline(pipeline_id=name, created_at=now, **body))
            return self.pipelines[-1]
        if path == "/experiments":
            self.experiments.append(api.V2beta1Experiment(experiment_id=name, created_at=now, **body))
            return self.experiments[-1]
        run_id = f"run-{len(self.runs) + 1}"
        self.runs.append(api.V2beta1Run(run_id=run_id, created_at=now, finished_at=EPOCH, state="PENDING", **body))
        return self.runs[-1]

    def _upload_version(self, query: dict[str, str], body: bytes) -> api.V2beta1PipelineVersion:
        version_id = f"version-{len(self.versions) + 1}"
        names = {"name": query["name"], "display_name": query["name"], "pipeline_id": query["pipelineid"]}
        self.versions.append(api.V2beta1PipelineVersion(pipeline_version_id=version_id, description=body.decode(), **names))
        return self.versions[-1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                url = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.headers.append(dict(self.headers))
                try:
                    while server.silent.is_set():
                        time.sleep(0.02)
                    answer = server.answer(self.command, url.path.removeprefix(BASE), query, body)
                    self._send(200, server._models.sanitize_for_serialization(answer))
                except Refused as refused:
                    self._send(refused.status, refused.body)

            def _send(self, status: int, answer: dict[str, Any] | str | bytes | None) -> None:
                html = isinstance(answer, str | bytes)
                text = answer if isinstance(answer, str | bytes) else json.dumps(answer)
                data = text.encode() if isinstance(text, str) else text
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if html else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                while server.drips.is_set():
                    self.wfile.write(data[:1])
                    data = data[1:] or b" "
                    time.sleep(0.1)
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _named(things: list[Any], query: dict[str, str]) -> list[Any]:
    (predicate,) = json.loads(query["filter"])["predicates"]
    assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
    return [thing for thing in things if thing.display_name == predicate["string_value"]]
