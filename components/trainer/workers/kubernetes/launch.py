# SPDX-License-Identifier: Apache-2.0
"""Starting training workers on Kubernetes: a headless Service and an Indexed Job, which no operator needs to look after.

The Job starts a worker again that was ended from outside, and the others then end and are started again too; all go on from
the last finished epoch. The step's own Pod owns both objects, so that they go when it goes. A run that is terminated may leave
that Pod behind, so the Job has a deadline too, which this process moves on as long as it lives. One name for all attempts of a
run keeps an attempt from training beside an earlier one.

Needs Kubernetes 1.29 (`backoffLimitPerIndex`). The step's service account needs in its own namespace (Role
`audio-gender-training`), and nothing else:

    apiGroups: [""]       resources: [pods]      verbs: [get, list]
    apiGroups: [""]       resources: [pods/log]  verbs: [get]
    apiGroups: [""]       resources: [services]  verbs: [create, delete]
    apiGroups: [""]       resources: [events]    verbs: [list]
    apiGroups: [batch]    resources: [jobs]      verbs: [get, create, patch, delete]
"""

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import client, config

from beam_jobs.console import say
from beam_jobs.errors import UserError
from components.trainer.workers.kubernetes.api import Cluster, ExistsError, MissingError
from components.trainer.workers.kubernetes.log import FollowedLog
from components.trainer.workers.kubernetes.objects import LEASE_S, Object, StepPod, headless_service, job_name, training_job
from components.trainer.workers.kubernetes.status import (
    Cause,
    End,
    end_of,
    job_condition,
    lost_each_other,
    newest,
    newest_warning,
    not_started,
    phase,
    ran_out_of_disk,
    verdict,
)
from components.trainer.workers.protocol import MAX_RESTARTS, PEER_LOST_STATUS, USER_ERROR_STATUS

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
POD_NAME_VARIABLE = "KFP_POD_NAME"
"""Kubeflow's; a host name is cut off after 63 characters."""
ENDED_BY_SIGTERM = 128 + signal.SIGTERM


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How often to look after workers, and how long to wait for what is not as it should be, in seconds."""

    poll_s: float = 2.0
    start_s: float = 600.0
    """For a worker to start: the cluster may have to get a machine first."""
    server_s: float = 300.0
    """For an answer of the API server."""
    gone_s: float = 60.0
    """For workers to end that were deleted."""


def launcher(run_id: str, dataset: Path | None = None) -> "KubernetesLaunch":
    """The launcher of a pipeline run's step, which this process is; `dataset` as in `training_job`.

    Raises:
        UserError: it is in no Pod.
    """
    try:
        config.load_incluster_config()
        namespace, pod = NAMESPACE_FILE.read_text().strip(), os.environ[POD_NAME_VARIABLE]
    except (config.ConfigException, OSError, KeyError) as error:
        raise UserError(
            f"custom_config.shared_folder is set, but this process is not a step of Kubeflow Pipelines ({error}); "
            "remove the key to train on this machine"
        ) from None
    return KubernetesLaunch(client.ApiClient(), namespace, pod, run_id, dataset=dataset)


@dataclass(frozen=True, slots=True)
class KubernetesLaunch:
    """A `Launch` (`components.trainer.workers.launch`) that leaves the restarts to the cluster."""

    api: client.ApiClient
    namespace: str
    """Of the step's Pod, and of the workers."""
    pod: str
    """Name of the step's Pod."""
    run_id: str
    timeouts: Timeouts = Timeouts()
    dataset: Path | None = None
    """The dataset folder where it is on a volume, which the workers then mount too."""

    def __call__(self, job: Path, num_workers: int) -> None:
        """Runs the job file with so many workers until the chief is done; its log goes to this process's stdout.

        Raises:
            UserError: the cluster refuses something, workers do not start or end too often, or what a worker said.
        """
        name = job_name(self.run_id)
        cluster = Cluster(self.api, self.namespace, name, self.timeouts.server_s)
        step = StepPod(cluster.pod(self.pod), os.environ, os.getuid(), os.getgid())
        service = headless_service(step, name)
        statuses = (USER_ERROR_STATUS, PEER_LOST_STATUS)
        indexed = training_job(step, name, num_workers, job, MAX_RESTARTS, *statuses, self.dataset)
        with _sigterm_as_exit(), ExitStack() as stack:
            stack.callback(self._clear_at_the_end, cluster)
            self._create(cluster, service, indexed)
            say(f"training workers: Job {name} with {num_workers} Pods in namespace {self.namespace}")
            watch = _Watch(cluster, num_workers, self.timeouts)
            stack.callback(watch.finish_log)
            watch.until_done()

    def _create(self, cluster: Cluster, service: Object, job: Object) -> None:
        try:
            cluster.create_service(service)
            cluster.create_job(job)
        except ExistsError:
            say("training workers of an earlier attempt are still there; waiting for them to end")
            self._clear(cluster)
            cluster.create_service(service)
            cluster.create_job(job)

    def _clear_at_the_end(self, cluster: Cluster) -> None:
        try:
            self._clear(cluster)
        except UserError as error:  # what training came to is another matter, and the objects have an owner and a deadline
            say(f"the training workers could not be removed: {error}")

    def _clear(self, cluster: Cluster) -> None:
        """Deletes everything and waits for the workers' ends: nobody else may write to the checkpoints."""
        cluster.delete()
        deadline = time.monotonic() + self.timeouts.gone_s
        while cluster.workers():
            if time.monotonic() > deadline:
                raise UserError(
                    f"deleted training workers have not ended after {self.timeouts.gone_s:g} s; check that all nodes are up"
                )
            time.sleep(self.timeouts.poll_s)


@dataclass(slots=True)
class _Watch:
    """What is known of a Job's workers while they run."""

    cluster: Cluster
    num_workers: int
    timeouts: Timeouts
    started: float = field(default_factory=time.monotonic)
    deadline_set: float = field(default_factory=time.monotonic)
    ends: dict[str, End] = field(default_factory=dict)
    """By the Pods' uid, in the order in which they were seen."""
    waiting_since: dict[int, float] = field(default_factory=dict)
    waits_for: dict[int, str] = field(default_factory=dict)
    log: FollowedLog | None = None
    logged: str = ""
    """uid of the Pod whose log it is."""

    def until_done(self) -> None:
        """Returns when the chief has succeeded.

        Raises:
            UserError: training has failed.
        """
        # Not kubernetes.watch: the Job's deadline and the workers' start are clocks that have to be looked at anyway, and a watch
        # needs another verb of the service account and ends with each connection.
        while not self._look():
            time.sleep(self.timeouts.poll_s)

    def finish_log(self) -> None:
        """Prints what is left of the chief's log."""
        if self.log is not None:
            self.log.finish()
            self.log = None

    def _look(self) -> bool:
        try:
            self._live_on()
            condition = job_condition(self.cluster.job(), "Complete", "FailureTarget", "Failed")
        except MissingError:
            raise UserError("the training Job was deleted; start the run again: its checkpoints are still there") from None
        pods = self.cluster.workers()
        workers = newest(pods)
        self._follow_chief(workers.get(0))
        over = condition is not None and condition["type"] != "Complete"
        self._note_ends(pods, over)
        ends = list(self.ends.values())
        if over or lost_each_other(ends) or ran_out_of_disk(ends):
            raise verdict(ends, condition, self.num_workers)
        if condition is not None or (0 in workers and phase(workers[0]) == "Succeeded"):
            return True
        for index in range(self.num_workers):
            self._check_start(index, workers.get(index))
        return False

    def _live_on(self) -> None:
        now = time.monotonic()
        if now - self.deadline_set > LEASE_S / 10:
            self.cluster.set_deadline(math.ceil(now - self.started) + LEASE_S)
            self.deadline_set = now

    def _note_ends(self, pods: list[Object], over: bool) -> None:
        for pod in pods:
            uid = pod["metadata"]["uid"]
            if phase(pod) != "Failed" or uid in self.ends:
                continue
            end = self.ends[uid] = end_of(pod)
            if not over and end.cause not in (Cause.USER_ERROR, Cause.PEER_LOST):
                say(
                    f"training worker {end.index} of {self.num_workers} {end.words}; all start again from the last finished epoch"
                )

    def _follow_chief(self, pod: Object | None) -> None:
        if self.log is not None:
            self.cluster.check(self.log)
        if pod is None or phase(pod) == "Pending":
            return
        if self.logged != pod["metadata"]["uid"]:
            self.finish_log()
            self.log, self.logged = self.cluster.follow(pod["metadata"]["name"]), pod["metadata"]["uid"]

    def _check_start(self, index: int, pod: Object | None) -> None:
        """Says once why a worker has not started yet, and ends all when that lasts."""
        reason = self._why_not_started(pod)
        if reason is None:
            self.waiting_since.pop(index, None)
            self.waits_for.pop(index, None)
            return
        if reason and self.waits_for.get(index) != reason:
            self.waits_for[index] = reason
            say(f"training worker {index} of {self.num_workers} cannot start yet: {reason}")
        waited_s = time.monotonic() - self.waiting_since.setdefault(index, time.monotonic())
        if reason and waited_s > self.timeouts.start_s:
            raise UserError(
                f"training worker {index} of {self.num_workers} did not start within {self.timeouts.start_s:g} s: {reason}; "
                "give the cluster what it lacks or lower train.num_workers, and start the run again"
            )

    def _why_not_started(self, pod: Object | None) -> str | None:
        """None where it has; empty where nothing is known, as in the pause before a restart."""
        if pod is None or phase(pod) == "Failed":
            return newest_warning(self.cluster.events())
        reason = not_started(pod)
        return newest_warning(self.cluster.events(pod["metadata"]["name"])) if reason == "" else reason


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Lets SIGTERM end this process as an exception does, by way of everything that cleans up."""

    def leave(*_: Any) -> None:
        sys.exit(ENDED_BY_SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
