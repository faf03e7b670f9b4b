# SPDX-License-Identifier: Apache-2.0
"""What the Pods of training workers say of themselves, in words: why one ended, why one does not start, why all is over."""

import re
import signal
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from beam_jobs.errors import UserError
from components.trainer.workers.kubernetes.objects import PORT, WORKER_CONTAINER, Object
from components.trainer.workers.protocol import MAX_RESTARTS, PEER_LOST_STATUS, USER_ERROR_STATUS, said_by_workers

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
ON_ITS_WAY = ("ContainerCreating", "PodInitializing")
MAX_WORDS = 300
MORE_DISK = "set data.scratch_gb lower, or give the nodes more disk"


class Cause(Enum):
    """What ended a worker, as far as it matters for what comes next."""

    USER_ERROR = "what it said"
    PEER_LOST = "another worker"
    DISRUPTION = "the cluster, for reasons of its own"
    MEMORY = "the kernel, for want of memory"
    DISK = "the kubelet, for want of disk"
    OTHER = "anything else"


@dataclass(frozen=True, slots=True)
class End:
    """How a worker's Pod came to its end; `words` finish a sentence that begins with the worker."""

    index: int
    cause: Cause
    words: str
    message: str


def worker_index(pod: Object) -> int:
    """Which of the workers a Pod is; 0 is the chief."""
    return int(pod["metadata"]["annotations"][INDEX_ANNOTATION])


def newest(pods: Iterable[Object]) -> dict[int, Object]:
    """The last Pod of each worker, by index; the Pods come in the order in which they were made."""
    return {worker_index(pod): pod for pod in pods}


def phase(pod: Object) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod.get("status", {}).get("phase", "Pending"))


def end_of(pod: Object) -> End:
    """Why a Pod of phase Failed did."""
    status, index = pod["status"], worker_index(pod)
    # kubernetes/kubernetes, pkg/kubelet/eviction: `The node was low on resource: ephemeral-storage`, `Pod ephemeral local storage
    # usage exceeds the total limit of containers`, `Usage of EmptyDir volume "tmp" exceeds the limit`.
    if status.get("reason") == "Evicted" and re.search("storage|EmptyDir", status.get("message", "")):
        return End(index, Cause.DISK, f"was evicted for lack of disk space ({in_one_line(status['message'])}); {MORE_DISK}", "")
    for condition in status.get("conditions", ()):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return End(index, Cause.DISRUPTION, f"was removed by the cluster ({_named(condition)})", "")
    terminated = _container_state(pod).get("terminated")
    if terminated is None or status.get("reason") == "Evicted":
        return End(index, Cause.OTHER, f"failed ({_named(status)})", "")
    message = terminated.get("message", "").strip()
    if terminated.get("reason") == "OOMKilled":
        limit = pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory", "of the node")
        return End(index, Cause.MEMORY, f"was killed because it ran out of memory (OOMKilled, memory limit {limit})", "")
    code = terminated["exitCode"]
    if code == USER_ERROR_STATUS and message:
        return End(index, Cause.USER_ERROR, f"said: {message}", message)
    if code == PEER_LOST_STATUS:
        return End(index, Cause.PEER_LOST, "ended because another worker was gone", "")
    return End(index, Cause.OTHER, f"ended with exit status {code}{_signal(code)}", message)


def not_started(pod: Object) -> str | None:
    """What a Pod waits for; empty where it does not say, None where it has started."""
    status = pod.get("status", {})
    if phase(pod) != "Pending":
        return None
    waiting = _container_state(pod).get("waiting")
    if waiting and waiting.get("reason") not in ON_ITS_WAY:
        return _named(waiting)
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _named(condition)
    return ""


def newest_warning(events: Iterable[Object]) -> str:
    """The last of an object's warnings, or nothing; that a Pod finds no node, its status says better and as it is now."""
    warnings = [event for event in events if event.get("type") == "Warning" and event.get("reason") != "FailedScheduling"]
    warnings.sort(key=_event_time)
    return _named(warnings[-1]) if warnings else ""


def job_condition(job: Object, *types: str) -> Object | None:
    """The first condition of a Job that is of such a type and true."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in types and condition["status"] == "True":
            return dict(condition)
    return None


def lost_each_other(ends: Sequence[End]) -> bool:
    """Whether workers end again and again because others were gone, none of which had ended for a reason of its own."""
    lost = Counter(end.index for end in ends if end.cause is Cause.PEER_LOST)
    others = sum(end.cause is not Cause.PEER_LOST for end in ends)
    return max(lost.values(), default=0) > MAX_RESTARTS * (1 + others)


def ran_out_of_disk(ends: Sequence[End]) -> bool:
    """Whether a worker was evicted for want of disk again and again: the Job itself would try for ever."""
    return max(Counter(end.index for end in ends if end.cause is Cause.DISK).values(), default=0) > MAX_RESTARTS


def verdict(ends: Sequence[End], condition: Mapping[str, str] | None, num_workers: int) -> UserError:
    """Why training failed: `ends` of all Pods, in their order, and the Job's own word, if it has one."""
    if said := {end.index: end.message for end in ends if end.cause is Cause.USER_ERROR}:
        return said_by_workers(said)
    if lost_each_other(ends):
        return UserError(
            f"training workers keep losing each other although none of them fails; let Pods with the label "
            f"app.kubernetes.io/component=training-worker reach each other on port {PORT} (NetworkPolicy)"
        )
    if condition and condition.get("reason") == "DeadlineExceeded":
        return UserError(
            "the training workers were ended because the step stopped extending their deadline; start the run again: its "
            "checkpoints are still there"
        )
    counted = [end for end in ends if end.cause in (Cause.MEMORY, Cause.DISK, Cause.OTHER)]
    if not counted:
        return UserError(f"the training Job failed: {_named(condition or {})}")
    index, times = Counter(end.index for end in counted).most_common(1)[0]
    own = [end for end in counted if end.index == index]
    what = f"training worker {index} of {num_workers} {own[-1].words}, {times} times in all"
    if all(end.cause is Cause.MEMORY for end in own):
        return UserError(
            f"{what}; raise kubernetes.steps.Trainer.memory, which applies to the workers too, or lower train.batch_size"
        )
    if own[-1].cause is Cause.DISK:
        return UserError(what)
    last = f": {own[-1].message.splitlines()[-1]}" if own[-1].message else ""
    return UserError(
        f"{what}{in_one_line(last)}; the log of this step (chief) or of that Pod says more; checkpoints are kept for a retry"
    )


def in_one_line(text: str) -> str:
    """What a user reads of somebody else's message."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_WORDS else f"{line[:MAX_WORDS]}…"


def _container_state(pod: Object) -> Object:
    """Waiting, running or terminated, whichever is there; empty before the Pod has a node."""
    for container in pod.get("status", {}).get("containerStatuses", ()):
        if container["name"] == WORKER_CONTAINER:
            return dict(container.get("state", {}))
    return {}


def _named(thing: Mapping[str, str]) -> str:
    return in_one_line(": ".join(part for part in (thing.get("reason", ""), thing.get("message", "")) if part))


def _signal(code: int) -> str:
    """The shells' way to write that a signal ended a process."""
    names = {one.value: one.name for one in signal.Signals}
    return f" ({names[code - 128]})" if code - 128 in names else ""


def _event_time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
