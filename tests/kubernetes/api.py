# SPDX-License-Identifier: Apache-2.0
"""A client of the Kubernetes API that speaks in manifests."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

Manifest = dict[str, Any]


def wait_until(ready: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in {timeout_s:g} s")
        time.sleep(0.1)


class RefusedError(Exception):
    """What the server answered instead."""

    def __init__(self, answer: requests.Response) -> None:
        is_json = answer.headers["Content-Type"].startswith("application/json")
        super().__init__(answer.json()["message"] if is_json else answer.text)
        self.status = answer.status_code


class Api:
    """The API as somebody sees it: who, says the token."""

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        self.url, self.ca_file, self.token = url, ca_file, token
        self._session = requests.Session()
        self._session.trust_env = False  # REQUESTS_CA_BUNDLE would win against `verify`, and a proxy is not wanted
        self._session.verify = str(ca_file)
        self._session.headers["Authorization"] = f"Bearer {token}"
        self.warnings: list[str] = []
        """What the server warned of: unknown annotations, deprecated versions, Pod Security."""

    def is_ready(self) -> bool:
        try:
            return self._session.get(f"{self.url}/readyz", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def call(self, method: str, path: str, body: Manifest | None = None, **query: str) -> Any:
        """An answer, as JSON.

        Raises:
            RefusedError: any other status than 2xx.
        """
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        if "fieldManager" in query:
            kind = "application/apply-patch+yaml"  # which JSON is
        answer = self._session.request(
            method, self.url + path, json=body, params=query, timeout=30, headers={"Content-Type": kind}
        )
        if "Warning" in answer.headers:
            self.warnings.append(answer.headers["Warning"])
        if not answer.ok:
            raise RefusedError(answer)
        return answer.json()

    def get(self, path: str, **query: str) -> Any:
        return self.call("GET", path, None, **query)

    def items(self, path: str, **query: str) -> list[Manifest]:
        return self.get(path, **query)["items"]

    def exists(self, path: str) -> bool:
        try:
            self.get(path)
        except RefusedError as refusal:
            if refusal.status == 404:
                return False
            raise
        return True

    def apply(self, manifest: Manifest, **query: str) -> Manifest:
        """Server-side apply; a field that the API does not know is refused."""
        return self.call(
            "PATCH", self.path_of(manifest), manifest, fieldManager="tests", fieldValidation="Strict", force="true", **query
        )

    def create(self, manifest: Manifest, **query: str) -> Manifest:
        return self.call("POST", self.path_of(manifest).rpartition("/")[0], manifest, fieldValidation="Strict", **query)

    def delete(self, manifest: Manifest, **query: str) -> None:
        """Deletes what may be gone already."""
        try:
            self.call("DELETE", self.path_of(manifest), None, **query)
        except RefusedError as refusal:
            if refusal.status != 404:
                raise

    def path_of(self, manifest: Manifest) -> str:
        version, metadata = manifest["apiVersion"], manifest["metadata"]
        resource = self._resources(version)[manifest["kind"]]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = f"/namespaces/{metadata.get('namespace', 'default')}" if resource["namespaced"] else ""
        return f"{root}{namespace}/{resource['name']}/{metadata['name']}"

    @functools.cache  # noqa: B019 (as many as there are tests)
    def _resources(self, version: str) -> dict[str, Manifest]:
        found = self.get(f"/apis/{version}" if "/" in version else f"/api/{version}")["resources"]
        return {resource["kind"]: resource for resource in found if "/" not in resource["name"]}
