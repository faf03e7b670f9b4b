"""What the page is made from: plain data, wherever it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beam_jobs.dataset import DatasetInfo
from beam_jobs.examples import Clip
from components.evaluator.predictions import Predictions
from components.gate.result import GateResult
from components.review_report.curves import Scores, worst_clips
from components.trainer.model_run import OperatingPoint

NUM_MISTAKES = 10


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """Everything that the page shows.

    Attributes:
        title: of the page.
        gate: the figures and, unless `decided` is given, the verdict. Of two runs its `baseline` is the other run.
        predictions: on the test clips.
        dataset: what the model was trained and tested on.
        clips: by id, the audio of the clips of `mistakes`; a clip that is missing is shown without sound.
        history: the Trainer's figures, one row an epoch: `epoch`, `train_loss`, `eval_loss`, …
        operating_point: decision thresholds that the eval split chose; None where an older version trained the model.
        config: the run's resolved configuration.
        baseline_config: that of the run that made the baseline; None where it is not known.
        facts: further lines of lineage: run, code revision, who decided, …
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
    """Ids of the clips whose sound the page plays."""
    worst = worst_clips(predictions.labels, predictions.candidate, predictions.predicted(), NUM_MISTAKES)
    return [predictions.ids[position] for position in worst]


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
