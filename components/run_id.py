"""The id of the run that an executor belongs to."""

import os
from typing import Any

VARIABLE = "PIPELINE_RUN_ID"
"""Where a runner whose context has no run id says it: Kubeflow's, from a label of the step's pod."""


def run_id(context: Any) -> str:
    """The run's id, from an executor's context or else from the environment; empty where neither knows it."""
    return (context and context.pipeline_run_id) or os.environ.get(VARIABLE, "")
