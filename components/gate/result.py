# SPDX-License-Identifier: Apache-2.0
"""What the gate found, as data: written by the Gate component, read by the report, the terminal and the metadata store."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, Field

from beam_jobs.files import join, read_text

RESULT_FILE = "gate.json"


class Estimate(BaseModel):
    """A metric with the confidence interval of a bootstrap over speakers.

    `value` is None where it is not defined (AUC of a slice with one class) or is no number; `low` and `high` are None where no
    interval can be given.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


class Compared(BaseModel):
    """One metric of the candidate, of the model in serving, and their difference (candidate minus baseline)."""

    metric: str
    class_name: str | None = None
    candidate: Estimate
    baseline: Estimate | None = None
    difference: Estimate | None = None


class Slice(BaseModel):
    """The metrics on one slice. `name` is `all`, `label=female`, `mode=sequential`, …; `feature` is the part before `=`.

    `confusion_matrix` has a row for each label and a column for each prediction.
    """

    name: str
    feature: str | None
    value: str | None
    clips: int
    speakers: int
    metrics: list[Compared]
    confusion_matrix: list[list[int]]
    baseline_confusion_matrix: list[list[int]] | None = None


class Degraded(BaseModel):
    """Accuracy and calibration error on clips that went through something; `name` is `clean` for the clips as they are.

    `degradation` is a name of `components.robustness.config`, None for `clean`. `not_measured` says why there are no figures. In
    `no_speech` and `baseline_no_speech` are the clips in which the model heard no speech, which count as wrong.
    """

    name: str
    degradation: str | None = None
    strength: int | None = None
    not_measured: str = ""
    metrics: list[Compared] = []
    no_speech: int | None = None
    baseline_no_speech: int | None = None


class Robustness(BaseModel):
    """What degradations do to the model, on some of the test clips; `clean` is the first row."""

    clip_ids: list[str]
    speakers: int
    rows: list[Degraded]


class Check(BaseModel):
    """One threshold on one slice. `threshold` is what `value` is held against: at least, or for `ece` at most.

    `margin` is how far `value` is on the right side (negative: on the wrong one). A check that does not `decide` (too few
    clips) is reported and never refuses a model. A `value` that decides and is None could not be measured.
    """

    kind: Literal["value", "change"]
    metric: str
    class_name: str | None = None
    slice: str
    clips: int
    value: float | None
    threshold: Annotated[float, Field(validation_alias=AliasChoices("threshold", "bound"))]
    """Older files call it `bound`."""
    margin: float | None
    decides: bool
    ok: bool


METRIC_NAMES = {"accuracy": "accuracy", "auc": "AUC", "recall": "recall", "ece": "calibration error"}


def metric_name(item: Compared | Check) -> str:
    """`accuracy`, `recall of female`."""
    name = METRIC_NAMES.get(item.metric, item.metric)
    return f"{name} of {item.class_name}" if item.class_name else name


class GateResult(BaseModel):
    """The verdict and all that it rests on. `reasons` is empty for a blessed model; each is one clause in words."""

    blessed: bool
    reasons: list[str]
    classes: list[str]
    baseline_version: str | None
    confidence: float
    bootstrap_samples: int
    decided_on: Literal["estimate", "lower_bound"]
    slices: list[Slice]
    same_in_all: dict[str, str] = {}
    """Features by which there are no slices, with the value that all test clips have."""
    checks: list[Check]
    robustness: Robustness | None = None
    """None where it was not measured, as by older versions."""


def read_gate_result(uri: str) -> GateResult:
    """Reads the result from the folder of a ModelBlessing artifact."""
    return GateResult.model_validate_json(read_text(join(uri, RESULT_FILE)))
