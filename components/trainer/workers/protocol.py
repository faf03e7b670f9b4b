# SPDX-License-Identifier: Apache-2.0
"""What workers and whoever starts them agree on: addresses, exit statuses, and where a worker leaves its error."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from beam_jobs.errors import UserError

MAX_RESTARTS = 3
USER_ERROR_STATUS = 2
PEER_LOST_STATUS = 3
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Where Kubernetes' Indexed Jobs say which of its Pods one is."""
CHECKPOINTS = "checkpoints"
"""Folder of a run, in the folder that workers of several machines share."""


class WorkerDied(Exception):  # noqa: N818 (it is no error of this program)
    """A worker was ended from outside: by the kernel for want of memory, or by somebody's kill."""


def said_by_workers(said: Mapping[int, str]) -> UserError:
    """One error out of what workers said, by index."""
    if len(set(said.values())) == 1:
        return UserError(next(iter(said.values())))
    return UserError("; ".join(f"worker {index}: {text}" for index, text in said.items()))


def tf_config(addresses: Sequence[str], index: int) -> str:
    """TF_CONFIG of one of the workers, whose `host:port` are given; number 0 is the chief."""
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}})


def error_file(job: Path, index: int) -> Path:
    """Where worker `index` of a job leaves the text of a UserError."""
    return job.with_name(f"error-{index}.txt")
