# SPDX-License-Identifier: Apache-2.0
"""The id of the run that an executor belongs to."""

import os
import re
from typing import Any

from beam_jobs.errors import UserError

VARIABLE = "PIPELINE_RUN_ID"
"""Where a runner whose context has no run id says it: Kubeflow's, from a label of the step's pod."""


RUN_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What the id of a run looks like: it is the name of a folder."""


def run_id(context: Any) -> str:
    """The run's id, from an executor's context or else from the environment.

    Raises:
        UserError: neither knows it, or it cannot be the name of a folder.
    """
    found = (context and context.pipeline_run_id) or os.environ.get(VARIABLE, "")
    if not re.fullmatch(RUN_ID, found):
        problem = f"{found!r} cannot be the id of a run" if found else "the runner does not say which run this is"
        raise UserError(f"{problem}; set {VARIABLE} in the step's environment")
    return found
