# SPDX-License-Identifier: Apache-2.0
"""The gate's verdict: thresholds on figures, and models, real exports, that must not get through."""

import dataclasses
import json
import re

import numpy as np
import pytest
from clip_datasets import reference_to, write_dataset

from beam_jobs.errors import UserError
from components.evaluator.clip_metrics import estimates
from components.evaluator.predictions import Predictions, read_predictions
from components.evaluator.results import read_metrics
from components.evaluator.slices import slices_of
from components.gate.config import GateConfig, Thresholds
from components.gate.decide import decide
from components.gate.result import Check, read_gate_result
from components.robustness.scores import Answers, Condition, RobustnessScores

CLASSES = ["male", "female"]
NOTHING = dict.fromkeys(Thresholds.model_fields)
"""No threshold at all."""


def config(overall=None, slices=None, **changes) -> GateConfig:
    """A gate with these thresholds alone."""
    thresholds = {"overall": NOTHING | (overall or {}), "slices": NOTHING | (slices or {})}
    return GateConfig.model_validate({**thresholds, "bootstrap_samples": 200, **changes})


def judged(gate: GateConfig, evaluation: str):
    """The verdict on an evaluation by TFMA, as the Gate component comes to it."""
    predictions = read_predictions(evaluation)
    baseline = None if predictions.baseline is None else read_metrics(evaluation, CLASSES, "baseline")
    version = None if predictions.baseline is None else "7"
    return decide(gate, CLASSES, predictions, read_metrics(evaluation, CLASSES), baseline, version)


def scores_of(right) -> np.ndarray:
    """Scores of models that are right about some of 80 clips, whose labels take turns."""
    labels = np.arange(80) % 2
    female = np.where(np.asarray(right) == (labels == 1), 0.9, 0.1) + np.arange(80) / 8000
    return np.stack([1 - female, female], axis=1).astype(np.float32)


def decided(gate: GateConfig, right, baseline_right=None, degraded_scores=None, **changes):
    """The verdict on 80 made-up clips of 20 speakers; `right` says about which the candidate is right."""
    predictions = Predictions(
        ids=[f"{number:02d}" for number in range(80)],
        labels=np.arange(80) % 2,
        candidate=scores_of(right),
        baseline=None if baseline_right is None else scores_of(baseline_right),
        candidate_classes=CLASSES,
        speaker_ids=[(str(number % 20),) for number in range(80)],
        utterance_ids=[(f"{number % 20}-1-0000",) for number in range(80)],
        modes=["sequential" if number < 70 else "simultaneous" for number in range(80)],
        num_speakers=np.ones(80, np.int64),
        rms_dbfs=np.full(80, -27, np.float32),
        speech_ratio=np.full(80, 0.9, np.float32),
    )
    predictions = dataclasses.replace(predictions, **changes)

    def figures(scores):
        found = {}
        for name, inside in slices_of(predictions, CLASSES).items():
            values = estimates(predictions.labels[inside], scores[inside])
            found[name] = {key: None if np.isnan(value) else value for key, value in values.items()}
        return found

    other = None if predictions.baseline is None else figures(predictions.baseline)
    return decide(gate, CLASSES, predictions, figures(predictions.candidate), other, other and "7", degraded=degraded_scores)


ALL_RIGHT = np.ones(80, bool)
FOUR_WRONG = np.arange(80) >= 4
LAST_WRONG = np.arange(80) < 74


# Thresholds.


def test_a_good_model_is_blessed_and_every_threshold_has_its_margin():
    result = decided(GateConfig(bootstrap_samples=200), ALL_RIGHT, FOUR_WRONG)

    assert (result.blessed, result.reasons, result.baseline_version) == (True, [], "7")
    assert all(check.ok for check in result.checks)
    accuracy = next(check for check in result.checks if (check.metric, check.slice, check.kind) == ("accuracy", "all", "value"))
    assert (accuracy.value, accuracy.threshold, accuracy.margin) == (1.0, 0.95, pytest.approx(0.05))
    change = next(check for check in result.checks if (check.metric, check.slice, check.kind) == ("accuracy", "all", "change"))
    assert (change.value, change.threshold) == (pytest.approx(0.05), 0)


def test_what_does_not_hold_is_told_by_metric_with_slice_value_and_bound_the_worst_first():
    gate = config({"min_accuracy": 0.96, "min_recall": 0.96, "max_ece": 0.01}, {"min_accuracy": 0.96})
    result = decided(gate, FOUR_WRONG)
    ece = next(item.candidate.value for item in result.slices[0].metrics if item.metric == "ece")
    assert result.reasons == [
        f"calibration error on all is {ece:.4f}, above 0.01",
        "accuracy on all is 0.9500, below 0.96 (and 3 more like it, worst accuracy on mode=sequential: 0.9429)",
        "recall of male on all is 0.9500, below 0.96 (and recall of female on all: 0.9500)",
    ]
    assert sum(check.decides and not check.ok for check in result.checks) == 7


def test_a_slice_with_few_clips_is_reported_and_does_not_decide():
    gate = config(slices={"min_accuracy": 0.8})
    result = decided(gate, LAST_WRONG)

    assert result.blessed
    small = next(check for check in result.checks if check.slice == "mode=simultaneous")
    assert (small.clips, small.ok, small.decides, small.value) == (10, False, False, pytest.approx(0.4))
    assert decided(config(slices={"min_accuracy": 0.8}, min_slice_clips=10), LAST_WRONG).reasons == [
        "accuracy on mode=simultaneous is 0.4000, below 0.8"
    ]


def test_recall_on_a_slice_rests_on_the_clips_of_its_label():
    checks = decided(config(slices={"min_accuracy": 0.5, "min_recall": 0.5}, min_slice_clips=40), LAST_WRONG).checks
    on_sequential = {(check.metric, check.clips, check.decides) for check in checks if check.slice == "mode=sequential"}
    assert on_sequential == {("accuracy", 70, True), ("recall", 35, False)}


@pytest.mark.parametrize(
    ("right", "baseline", "allowed", "reasons"),
    [
        (FOUR_WRONG, ALL_RIGHT, 0.0, ["accuracy on all is 0.0500 below the model now in serving, more than 0 allowed"]),
        (FOUR_WRONG, ALL_RIGHT, 0.05, []),
        (FOUR_WRONG, FOUR_WRONG, 0.0, []),
        (ALL_RIGHT, FOUR_WRONG, 0.0, []),
    ],
)
def test_a_model_must_be_no_worse_than_the_one_in_serving(right, baseline, allowed, reasons):
    assert decided(config({"max_accuracy_loss": allowed}), right, baseline).reasons == reasons


def test_an_equal_model_passes_without_any_loss_on_any_metric_of_any_slice():
    none = {name: 0 for name in Thresholds.model_fields if name.endswith(("_loss", "_rise"))}
    assert decided(config(none, none, min_slice_clips=1), LAST_WRONG, LAST_WRONG).blessed


def test_the_lower_bound_asks_for_more_than_the_estimate():
    bound = {"min_accuracy": 0.93}
    assert decided(config(bound), FOUR_WRONG).blessed
    result = decided(config(bound, decide_on="lower_bound"), FOUR_WRONG)

    (figure,) = [item.candidate for item in result.slices[0].metrics if item.metric == "accuracy"]
    assert figure.low < 0.93 < figure.value < figure.high
    assert result.reasons == [f"the lower bound of accuracy on all is {figure.low:.4f}, below 0.93"]
    assert result.checks[0].value == figure.low


def test_for_the_calibration_error_it_is_the_upper_bound():
    result = decided(config({"max_ece": 0.0}, decide_on="lower_bound"), FOUR_WRONG)
    (figure,) = [item.candidate for item in result.slices[0].metrics if item.metric == "ece"]
    assert result.reasons == [f"the upper bound of calibration error on all is {figure.high:.4f}, above 0"]


def test_every_slice_has_clips_speakers_and_matrices_of_both_models():
    result = decided(config(), ALL_RIGHT, LAST_WRONG)
    simultaneous = next(item for item in result.slices if item.name == "mode=simultaneous")

    assert (simultaneous.feature, simultaneous.value) == ("mode", "simultaneous")
    assert (simultaneous.clips, simultaneous.speakers) == (10, 10)
    assert simultaneous.confusion_matrix == [[5, 0], [0, 5]]
    assert simultaneous.baseline_confusion_matrix == [[2, 3], [3, 2]]


# A gate that cannot be fooled, however low its thresholds are.


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("nan", r"^\d+ of 40 test clips get a score that is not a number$"),
        ("logits", r"^40 of 40 test clips get scores that are not valid probabilities"),
        ("constant", r"^every test clip gets the same scores$"),
        ("reordered", r"^the model's signature gives its classes as female, male and not as male, female$"),
        ("no classes", r"^the model's signature does not name its classes in one order and not as male, female$"),
    ],
)
def test_a_faulty_export_is_refused_with_no_threshold_set(evaluation, model, reason):
    result = judged(config(), evaluation(model, None))
    assert not result.blessed
    assert len(result.reasons) == 1
    assert re.search(reason, result.reasons[0])


def test_a_model_with_swapped_labels_is_refused(evaluation):
    reasons = judged(GateConfig(bootstrap_samples=200), evaluation("swapped", None)).reasons
    assert reasons[0] == "accuracy on all is 0.0000, below 0.95"
    assert any(re.fullmatch(r"AUC of (fe)?male on all is 0\.0000, below 0\.95 \(and .*AUC of .*\)", reason) for reason in reasons)


def test_a_test_split_with_one_class_is_refused(evaluate_clips, test_clips, tmp_path):
    dataset = write_dataset(tmp_path / "clips", {"test": [[clip for clip in test_clips if clip.label == 0]]})
    result = judged(config(), evaluate_clips(reference_to(dataset), "right", None))

    assert result.reasons == ["no clip of the test split is labelled female"]
    assert {item.candidate.value for item in result.slices[0].metrics if item.metric == "auc"} == {None}


def test_a_right_model_gets_through_and_a_worse_one_does_not(evaluation):
    gate = GateConfig.model_validate(
        {"bootstrap_samples": 200, "overall": {"max_ece": 0.3}, "slices": {"max_ece": 0.4}, "min_slice_clips": 5}
    )
    assert judged(gate, evaluation("right", "mistaken")).reasons == []
    reasons = judged(gate, evaluation("mistaken", "right")).reasons
    assert any("below the model now in serving, more than 0 allowed" in reason for reason in reasons)


def test_no_clips_stop_the_run():
    lists: dict[str, list[str]] = {name: [] for name in ("ids", "speaker_ids", "utterance_ids", "modes")}
    arrays = {name: np.zeros(0, np.int64) for name in ("labels", "num_speakers", "rms_dbfs", "speech_ratio")}
    with pytest.raises(UserError, match="the test split holds no clips"):
        decided(config(), ALL_RIGHT, candidate=np.zeros((0, 2)), **lists, **arrays)


def test_a_model_in_serving_that_scores_nan_stops_the_run():
    baseline = scores_of(ALL_RIGHT)
    baseline[3] = np.nan
    with pytest.raises(
        UserError, match="version 7, cannot be used as the baseline: 1 of 80 test clips get a score that is not a number"
    ):
        decided(config(), ALL_RIGHT, ALL_RIGHT, baseline=baseline)


# Degraded clips.


def degraded(**right: int) -> RobustnessScores:
    """Scores of a model that is right about so many of 10 clips in each condition, each 0.8 sure."""

    def answers(number: int) -> Answers:
        female = [(0.8 if label else 0.2) if k < number else (0.2 if label else 0.8) for k, label in enumerate([0, 1] * 5)]
        return Answers(probabilities=[[1 - value, value] for value in female], speech=[0.9] * 10)

    conditions = [Condition(candidate=answers(10))]
    for name, number in right.items():
        degradation, strength = name.rsplit("_", 1)
        conditions.append(Condition.model_validate({"degradation": degradation, "strength": int(strength)}))
        conditions[-1].candidate = answers(number)
    return RobustnessScores(
        ids=[str(k) for k in range(10)], labels=[0, 1] * 5, speaker_ids=[[str(k)] for k in range(10)], conditions=conditions
    )


ON_THE_TELEPHONE = {"robustness": {"telephone": {"min_accuracy": 0.85, "max_ece": 0.15}}}


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        (
            ON_THE_TELEPHONE,
            [
                "accuracy on degradation=telephone, strength=3 is 0.5000, below 0.85 "
                "(and accuracy on degradation=telephone, strength=2: 0.8000)",
                "calibration error on degradation=telephone, strength=3 is 0.3000, above 0.15",
            ],
        ),
        (
            {"robustness": {"telephone": {"min_accuracy": 0.85, "max_strength": 2}}},
            ["accuracy on degradation=telephone, strength=2 is 0.8000, below 0.85"],
        ),
        ({"robustness": {"telephone": {"min_accuracy": 0.85, "max_strength": 1}}}, []),
        ({"robustness": {"pink_noise": {"min_accuracy": 1}}}, []),
        (
            {"robustness": {"telephone": {"min_accuracy": 0.85, "max_strength": 1}}, "decide_on": "lower_bound"},
            ["the lower bound of accuracy on degradation=telephone, strength=1 is 0.5332, below 0.85"],
        ),
    ],
)
def test_a_model_that_is_wrong_on_the_telephone_is_refused(changes, reasons):
    scores = degraded(telephone_1=9, telephone_2=8, telephone_3=5, pink_noise_3=10)

    result = decided(config(**changes), ALL_RIGHT, degraded_scores=scores)

    assert (result.blessed, result.reasons) == (not reasons, reasons)
    assert result.robustness and [row.name for row in result.robustness.rows][:2] == [
        "clean",
        "degradation=telephone, strength=1",
    ]


def test_a_threshold_on_a_degradation_that_could_not_be_made_refuses_with_the_reason():
    scores = degraded(opus_1=9)
    scores.conditions[1] = scores.conditions[1].model_copy(update={"candidate": None, "not_measured": "no such codec here"})
    gate = config(robustness={"opus": {"min_accuracy": 0}})

    assert decided(gate, ALL_RIGHT, degraded_scores=scores).reasons == [
        "accuracy on degradation=opus, strength=1 could not be measured: no such codec here"
    ]
    assert decided(config(), ALL_RIGHT, degraded_scores=scores).blessed


def test_scores_that_are_no_numbers_leave_a_threshold_without_its_figure():
    scores = degraded(room_1=10)
    scores.conditions[1].candidate.probabilities[4] = [float("nan"), float("nan")]

    assert decided(config(robustness={"room": {"max_ece": 1}}), ALL_RIGHT, degraded_scores=scores).reasons == [
        "calibration error on degradation=room, strength=1 could not be measured: it is not defined on these clips"
    ]


# The component.


@pytest.fixture
def bless(evaluation, tmp_path):
    """A function that runs the component on an evaluation of the right model; returns the blessing and the result in it."""
    from tfx.types import standard_artifacts

    from components.gate.executor import Executor

    def artifact(kind, uri, **properties):
        made = kind()
        made.uri = str(uri)
        for name, value in properties.items():
            (made.set_int_custom_property if isinstance(value, int) else made.set_string_custom_property)(name, value)
        return [made]

    def run(**serving_check):
        blessing = artifact(standard_artifacts.ModelBlessing, tmp_path / "blessing")
        inputs = {
            "evaluation": artifact(standard_artifacts.ModelEvaluation, evaluation("right", "mistaken")),
            "model": artifact(standard_artifacts.Model, tmp_path / "model"),
            "baseline_model": artifact(standard_artifacts.Model, tmp_path / "baseline", serving_version="7"),
        }
        if serving_check:
            inputs["serving_check"] = artifact(standard_artifacts.InfraBlessing, tmp_path / "check", **serving_check)
        parameters = {"config": config({"max_accuracy_loss": 0}).model_dump_json(), "classes": json.dumps(CLASSES)}
        Executor().Do(inputs, {"blessing": blessing}, parameters)
        return blessing[0], read_gate_result(blessing[0].uri)

    return run


def test_the_component_blesses_and_leaves_its_result_beside_the_blessing(bless, tmp_path):
    blessing, result = bless(blessed=1)

    assert (result.blessed, result.baseline_version) == (True, "7")
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("current_model") == str(tmp_path / "model")
    assert {path.name for path in (tmp_path / "blessing").iterdir()} == {"BLESSED", "gate.json"}


@pytest.mark.parametrize(
    ("serving_check", "reasons"),
    [
        ({"blessed": 0, "reasons": '["signature wav does not answer"]'}, ["serving check: signature wav does not answer"]),
        ({"blessed": 0}, ["serving check: did not bless the model"]),
    ],
)
def test_a_model_that_failed_its_serving_check_is_refused_with_the_reasons(bless, tmp_path, serving_check, reasons):
    blessing, result = bless(**serving_check)

    assert (result.blessed, result.reasons) == (False, reasons)
    assert blessing.get_int_custom_property("blessed") == 0
    assert {path.name for path in (tmp_path / "blessing").iterdir()} == {"NOT_BLESSED", "gate.json"}


def test_results_of_older_versions_can_be_read():
    check = {
        "kind": "value",
        "metric": "auc",
        "slice": "all",
        "clips": 1,
        "value": 1.0,
        "margin": 0.5,
        "decides": True,
        "ok": True,
    }

    old = Check.model_validate({**check, "bound": 0.5})

    assert old == Check.model_validate_json(old.model_dump_json()) == Check.model_validate({**check, "threshold": 0.5})


def test_a_feature_that_is_the_same_in_all_clips_makes_no_slice_and_is_named():
    """What was a slice of 96 of 96 clips."""
    result = decided(config(), ALL_RIGHT)
    assert [item.name for item in result.slices] == [
        "all",
        "label=male",
        "label=female",
        "mode=sequential",
        "mode=simultaneous",
    ]
    assert all(item.clips < 80 for item in result.slices[1:])
    assert result.same_in_all == {"speakers": "1", "loudness": "-30..-24 dBFS", "speech": "80..100 %"}
