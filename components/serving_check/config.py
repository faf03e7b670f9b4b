# SPDX-License-Identifier: Apache-2.0
"""What the serving check allows a model."""

from typing import Annotated

from pydantic import Field

from beam_jobs.config import Strict


class ServingCheckConfig(Strict):
    """Budgets of the process in which the exported model answers, TensorFlow itself included."""

    max_memory_mb: Annotated[int, Field(ge=1)] = 4096
    """Peak memory of this check, including some 500 MB for TensorFlow itself. A step's own limit is `kubernetes.step.memory`."""
    max_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Wall time, including several seconds to load TensorFlow."""
