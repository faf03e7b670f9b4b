# SPDX-License-Identifier: Apache-2.0
"""What the serving check found, as data: written by the component, read by the gate, the report and the terminal."""

from pydantic import BaseModel

RESULT_FILE = "serving_check.json"


class Cost(BaseModel):
    """What a model takes: bytes of its SavedModel, numbers in its variables, and time to answer.

    `cpu_ms_per_s` are milliseconds of CPU, of all cores together, for a second of audio; `latency_ms` is how long one clip takes.
    """

    num_bytes: float
    parameters: float
    cpu_ms_per_s: float
    latency_ms: float


class Costs(BaseModel):
    """The candidate's cost and that of the model in serving, measured by turns in one process, and the ratio of each figure.

    `baseline` and `ratios` (candidate over baseline, by the names of `Cost`) are None where no model is in serving.
    """

    candidate: Cost
    baseline: Cost | None = None
    ratios: Cost | None = None


class ServingCheckResult(BaseModel):
    """`reasons` is empty for a model that can be served; each is one clause in words.

    `seconds` and `peak_memory_mb` are those of the whole process, TensorFlow included. `max_difference` is the greatest between a
    probability that `serving_default` gave and the one that the pipeline computed; None where there was no answer to compare.
    `costs` is None where they could not be measured, which never refuses a model; `no_costs` then says why.
    """

    ok: bool
    reasons: list[str]
    clips: int
    seconds: float
    peak_memory_mb: float
    max_difference: float | None = None
    costs: Costs | None = None
    no_costs: str = ""
