# SPDX-License-Identifier: Apache-2.0
"""Workers that the kubelet evicts for want of disk: what Kubernetes' own words become."""

import pytest

from components.trainer.workers.kubernetes.status import Cause, end_of, ran_out_of_disk, verdict
from components.trainer.workers.protocol import MAX_RESTARTS

# kubernetes/kubernetes 1.30, pkg/kubelet/eviction/{helpers,eviction_manager}.go.
LOW = "The node was low on resource: ephemeral-storage. Threshold quantity: 2Gi, available: 1Gi. "
OVER_LIMIT = "Pod ephemeral local storage usage exceeds the total limit of containers 20Gi. "
EMPTY_DIR = 'Usage of EmptyDir volume "tmp" exceeds the limit "20Gi". '
LOW_MEMORY = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. "


def evicted(message: str, index: int = 1) -> dict:
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message}
    return {
        "metadata": {"annotations": {"batch.kubernetes.io/job-completion-index": str(index)}},
        "status": {"phase": "Failed", "reason": "Evicted", "message": message, "conditions": [disruption]},
    }


@pytest.mark.parametrize("message", [LOW, OVER_LIMIT, EMPTY_DIR])
def test_an_eviction_for_want_of_disk_names_the_setting_and_ends_the_step_in_time(message):
    end = end_of(evicted(message))

    assert end.cause is Cause.DISK
    assert not ran_out_of_disk([end] * MAX_RESTARTS)
    assert ran_out_of_disk([end] * (MAX_RESTARTS + 1))
    said = str(verdict([end] * 4, None, 2))
    assert said.startswith(f"training worker 1 of 2 was evicted for lack of disk space ({message.strip()}); ")
    assert said.endswith("; set data.scratch_gb lower, or give the nodes more disk, 4 times in all")


def test_other_evictions_are_the_clusters_own_affair():
    assert end_of(evicted(LOW_MEMORY)).cause is Cause.DISRUPTION
