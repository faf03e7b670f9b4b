# SPDX-License-Identifier: Apache-2.0
"""What the page is made from: plain data, wherever it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beam_jobs.dataset import DatasetInfo
from beam_jobs.examples import Clip
from components.evaluator.predictions import Predictions
from components.gate.result import GateResult
from components.review_report.curves import Scores, worst_clips
from components.review_report.headline import Standing
from components.review_report.speakers import Suspect, suspects
from components.serving_check.result import ServingCheckResult
from components.trainer.model_run import OperatingPoint

NUM_MISTAKES = 10
NUM_SUSPECTS, CLIPS_OF_SUSPECT = 5, 2


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """Everything that the page shows.

    Attributes:
        title: of the page.
        gate: the figures and, unless `decided` is given, the verdict. Of two runs its `baseline` is the other run.
        predictions: on the test clips.
        dataset: what the model was trained and tested on.
        clips: by id, the audio of the clips that `heard` names; a clip that is missing is shown without sound.
        history: the Trainer's figures, one row an epoch: `epoch`, `train_loss`, `eval_loss`, …
        operating_point: decision thresholds that the eval split chose; None where an older version trained the model.
        config: the run's resolved configuration.
        baseline_config: that of the run that made the baseline; None where it is not known.
        run_facts: what names the run and its models: id, date, corpus, versions, code revision.
        corpus: where the corpus lies; "" where that is not known.
        standing: where the model stands, and what happens next; None where only the gate has spoken.
        serving_check: what the candidate and the model in serving take to answer; None where it was not measured.
        facts: further lines of lineage: folders, who decided, …
        durations: of each node the name, the seconds, and whether it came from the cache.
        candidate_name: what the page calls the one model.
        baseline_name: what it calls the other.
        other: the other run's answers, where it was tested on other clips; its figures then stand beside, unpaired.
        decided: the gate's own verdict, where `gate` compares with another run than the gate did.
        comparison: what came out of that, in one sentence.
        warning: what a reader must know before any figure.
    """

    title: str
    gate: GateResult
    predictions: Predictions
    dataset: DatasetInfo
    clips: Mapping[str, Clip] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    operating_point: OperatingPoint | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    baseline_config: Mapping[str, Any] | None = None
    run_facts: Mapping[str, str] = field(default_factory=dict)
    corpus: str = ""
    standing: Standing | None = None
    serving_check: ServingCheckResult | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    durations: Sequence[tuple[str, float, bool]] = ()
    candidate_name: str = "candidate"
    baseline_name: str = "serving model"
    other: Scores | None = None
    decided: GateResult | None = None
    comparison: str = ""
    warning: str = ""

    def scores(self) -> list[Scores]:
        """The answers of the candidate and, where there is one, of the other model."""
        predictions = self.predictions
        found = [Scores(self.candidate_name, predictions.labels, predictions.candidate, predictions.candidate_thresholds)]
        if self.other is not None:
            found.append(self.other)
        elif predictions.baseline is not None:
            found.append(Scores(self.baseline_name, predictions.labels, predictions.baseline, predictions.baseline_thresholds))
        return found


def mistakes(predictions: Predictions) -> list[str]:
    """Ids of the clips that were taken for another class, the surest mistakes first: those whose sound the page plays."""
    worst = worst_clips(predictions.labels, predictions.candidate, predictions.predicted(), NUM_MISTAKES)
    return [predictions.ids[position] for position in worst]


def suspects_heard(predictions: Predictions, classes: Sequence[str]) -> list[tuple[Suspect, list[str]]]:
    """The first suspects, each with the ids of the clips whose sound the page plays."""
    return [
        (suspect, [predictions.ids[position] for position in suspect.positions[:CLIPS_OF_SUSPECT]])
        for suspect in suspects(predictions, classes)[:NUM_SUSPECTS]
    ]


def heard(predictions: Predictions, classes: Sequence[str]) -> set[str]:
    """Ids of all clips whose sound the page plays."""
    of_suspects = (clip_id for _, ids in suspects_heard(predictions, classes) for clip_id in ids)
    return {*mistakes(predictions), *of_suspects}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as `key.path: value`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def config_diff(config: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The keys whose values differ: name, value here, value there; `-` where a key is missing."""
    here, there = flat(config), flat(other)
    return [
        (key, str(here.get(key, "-")), str(there.get(key, "-")))
        for key in dict.fromkeys([*here, *there])
        if here.get(key, "-") != there.get(key, "-")
    ]
