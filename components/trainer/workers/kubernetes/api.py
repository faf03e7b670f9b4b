# SPDX-License-Identifier: Apache-2.0
"""The few requests to a Kubernetes API server that training workers need, with refusals in a user's words."""

import json
from collections.abc import Callable
from typing import Any

import urllib3
from kubernetes import client
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from beam_jobs.errors import UserError
from components.trainer.workers.kubernetes.log import FollowedLog
from components.trainer.workers.kubernetes.objects import JOB_NAME_LABEL, Object
from components.trainer.workers.kubernetes.status import in_one_line

ROLE = "audio-gender-training"
REQUEST_TIMEOUT_S = 30
RETRY_S = 1.0


class MissingError(Exception):
    """There is no such object."""


class ExistsError(Exception):
    """There is an object of that name already."""


class Cluster:
    """Requests for a Job of training workers and its Service, both by the same name, in one namespace.

    Every request raises UserError where the server refuses it, or does not answer for `timeout_s`.
    """

    def __init__(self, api: client.ApiClient, namespace: str, name: str, timeout_s: float) -> None:
        self._core, self._batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self._namespace, self._name, self._timeout_s = namespace, name, timeout_s

    def pod(self, name: str) -> Object:
        """Any Pod, by name."""
        return self._ask("get pods", self._core.read_namespaced_pod, name, self._namespace)

    def create_service(self, body: Object) -> None:
        """Creates it. Raises ExistsError."""
        self._ask("create services", self._core.create_namespaced_service, self._namespace, body, field_validation="Strict")

    def create_job(self, body: Object) -> None:
        """Creates it. Raises ExistsError."""
        # A server too old for a field would leave it out without a word.
        self._ask("create jobs", self._batch.create_namespaced_job, self._namespace, body, field_validation="Strict")

    def job(self) -> Object:
        """The Job as it stands. Raises MissingError."""
        return self._ask("get jobs", self._batch.read_namespaced_job, self._name, self._namespace)

    def workers(self) -> list[Object]:
        """The Job's Pods, those that have ended too, in the order in which they were made."""
        selector = f"{JOB_NAME_LABEL}={self._name}"
        found = self._ask("list pods", self._core.list_namespaced_pod, self._namespace, label_selector=selector)
        return sorted(found["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def events(self, name: str = "") -> list[Object]:
        """What the cluster has noted about an object; the Job, if none is named."""
        selector = f"involvedObject.name={name or self._name}"
        found = self._ask("list events", self._core.list_namespaced_event, self._namespace, field_selector=selector)
        return list(found["items"])

    def set_deadline(self, seconds: int) -> None:
        """Lets the Job run so long, counted from its start."""
        body = {"spec": {"activeDeadlineSeconds": seconds}}
        self._ask("patch jobs", self._batch.patch_namespaced_job, self._name, self._namespace, body)

    def delete(self) -> None:
        """Deletes what there is of the two; the Job's Pods end soon after."""
        for verb, method in (
            ("delete jobs", self._batch.delete_namespaced_job),
            ("delete services", self._core.delete_namespaced_service),
        ):
            try:
                self._ask(verb, method, self._name, self._namespace, body={"propagationPolicy": "Background"})
            except MissingError:
                continue

    def follow(self, pod: str) -> FollowedLog:
        """The log of a worker that has started."""
        return FollowedLog(self._core, self._namespace, pod)

    def check(self, log: FollowedLog) -> None:
        """Raises UserError where the server has refused a log."""
        if log.refusal is not None:
            raise self._refused("get pods/log", log.refusal)

    def _ask(self, permission: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Object:
        def once() -> Object:
            response = method(*arguments, **options, _preload_content=False, _request_timeout=REQUEST_TIMEOUT_S)
            answer: Object = json.loads(response.data)
            return answer

        patiently = Retrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_delay(self._timeout_s),
            wait=wait_fixed(RETRY_S),
            reraise=True,
        )
        try:
            return patiently(once)
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            if not is_transient(error):
                raise self._refused(permission, error) from None
            raise UserError(
                f"the Kubernetes API server has not answered for {self._timeout_s:g} s "
                f"({in_one_line(message_of(error))}); start the run again: its checkpoints are still there"
            ) from None

    def _refused(self, permission: str, error: client.ApiException) -> Exception:
        verb, resource = permission.split()
        message = in_one_line(message_of(error))
        if error.status == 404:
            return MissingError(message)
        if error.status == 409:
            return ExistsError(message)
        if error.status == 403 and f"cannot {verb} resource" in message:
            return UserError(
                f"the step's service account may not {verb} {resource} in namespace {self._namespace}: {message}; "
                f"bind it to the Role {ROLE} (k8s/base)"
            )
        return UserError(f"Kubernetes refused to {verb} {resource} for the training workers: {message}")


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later: no answer, too many requests, or a server that fails."""
    if isinstance(error, client.ApiException):
        return not 0 < error.status < 500 or error.status == 429
    return isinstance(error, urllib3.exceptions.HTTPError)


def message_of(error: Exception) -> str:
    """The words of an API server, where the error is one of its answers."""
    if isinstance(error, client.ApiException) and error.body:
        try:
            return str(json.loads(error.body)["message"])
        except (ValueError, KeyError, TypeError):  # a proxy's page
            return f"{error.status} {error.reason}"
    return str(error)
