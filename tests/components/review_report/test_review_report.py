# SPDX-License-Identifier: Apache-2.0
"""The report: its figures fit the predictions, its words fit the gate, and what is data cannot become markup."""

import dataclasses
import html
import math
import re
from pathlib import Path

import numpy as np
import pytest
from clip_datasets import reference_to
from review_artifacts import LENIENT, decided, degraded, write_evaluation, write_gate_result, write_history, write_serving_check
from sklearn.metrics import roc_auc_score

from beam_jobs.clip_store import write_reference
from beam_jobs.config import NumClips
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips
from components.clip_example_gen.artifact import Clips
from components.evaluator.clip_metrics import estimates
from components.gate.result import Compared, Estimate, metric_name
from components.review_report import charts, curves
from components.review_report.formatting import accuracy_of, compared_with, counts, direction, grounds, signed, verdict
from components.review_report.headline import Standing
from components.review_report.inputs import ReportInputs, config_diff, mistakes
from components.review_report.page import MAX_BYTES, render_report
from components.review_report.read import history_of, read_inputs

ON_DEGRADED_CLIPS = {"telephone": {"min_accuracy": 0.99, "max_strength": 1}, "opus": {"max_ece": 0.5, "max_strength": 1}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, index, make_config) -> Path:
    folder = tmp_path_factory.mktemp("review") / "clips"
    generate_clips(make_config(mixed_share=0.0, num_clips=NumClips(train=4, eval=2, test=24)), index, str(folder))
    return folder


@pytest.fixture(scope="module")
def inputs(dataset, tmp_path_factory) -> ReportInputs:
    """A model with 3 mistakes beside one with 6, read from artifacts' folders as the executor does."""
    folder = tmp_path_factory.mktemp("artifacts")
    predictions = write_evaluation(folder / "evaluation", dataset, num_wrong=3, baseline_wrong=6)
    result = decided(predictions, ["male", "female"], "7", degraded(predictions, 2, baseline=True), robustness=ON_DEGRADED_CLIPS)
    write_gate_result(folder / "blessing", result)
    write_history(folder / "model_run")
    found = read_inputs(
        title="Run 1",
        evaluation_uri=str(folder / "evaluation"),
        blessing_uri=str(folder / "blessing"),
        clips=reference_to(dataset),
        model_run_uri=str(folder / "model_run"),
        dataset_uri=str(dataset),
        config={"train": {"epochs": 5, "seed": 1}},
        baseline_config={"train": {"epochs": 3, "seed": 1}},
        facts={"run": "1"},
    )
    return dataclasses.replace(
        found,
        run_facts={"run": "1", "code revision": "git:abc"},
        standing=Standing("refused", "Nothing was pushed.", [("to push it anyway", "audio-gender approve 1 --override")]),
    )


@pytest.fixture(scope="module")
def page(inputs) -> str:
    return render_report(inputs)


def scores(labels, probabilities) -> curves.Scores:
    return curves.Scores("candidate", np.array(labels), np.array(probabilities, np.float32))


def test_the_verdict_comes_first_and_the_sections_in_order(page, inputs):
    gate = inputs.gate
    assert verdict(gate)[0] == "Refused" and gate.reasons[0][1:] in page
    heads = re.findall(r'<h2 id="(\w+)-title">', page)
    sections = [
        "figures",
        "thresholds",
        "slices",
        "robustness",
        "operating",
        "curves",
        "mistakes",
        "speakers",
        "cost",
        "lineage",
        "card",
    ]
    assert heads == ["next", "run", *sections]
    headline = text_of(page[page.index('<div class="verdict') : page.index('id="figures-title"')])
    found, accuracy = counts(gate.checks), accuracy_of(gate).candidate
    assert f"{accuracy.value:.3f} [{accuracy.low:.3f}\u2013{accuracy.high:.3f}] on 24 clips of " in headline
    assert f"{found.hold} of {found.all} hold {found.fail} fail{'s' * (found.fail == 1)}, {found.undecided} undecided" in headline


def test_the_verdict_says_what_was_found_and_not_what_was_asked_for(inputs):
    gate, found = inputs.gate, inputs.predictions
    right = (found.candidate.argmax(axis=1) == found.labels).mean()
    speakers = {name for clip in found.speaker_ids for name in clip}
    undecided = sum(not check.decides and check.value is not None for check in gate.checks)
    defined = sum(check.decides or check.value is not None for check in gate.checks)
    assert defined < len(gate.checks)  # AUC is not, on clips of one label
    failed = sum(check.decides and not check.ok for check in gate.checks)
    assert failed and undecided

    sentence = grounds(gate)

    assert re.match(
        rf"accuracy {right:.3f} \[0\.\d{{3}}\u2013[01]\.\d{{3}}\] on {len(found.ids)} clips of {len(speakers)} speakers; ",
        sentence,
    )
    held = f"{defined - failed - undecided} of {defined} thresholds hold"
    assert f"; {held}, {failed} fail{'s' * (failed == 1)}, {undecided} undecided (too few clips); " in sentence
    assert f"; accuracy {compared_with(accuracy_of(gate), f'version {gate.baseline_version}, in serving')}" in sentence
    for threshold in {check.threshold for check in gate.checks if check.kind == "value"}:
        assert f" {threshold:g}" not in sentence
    assert verdict(gate)[1].endswith(f"{sentence}.")


def text_of(markup: str) -> str:
    """What is read there."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def test_the_page_needs_no_network(page):
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.findall(r"url\((?!#)", page)
    assert len(page.encode()) < MAX_BYTES


def test_every_threshold_is_there_with_its_margin_and_failures_come_first(page, inputs):
    section = page[page.index('id="thresholds"') : page.index('id="slices"')]
    marks = re.findall(r'<span class="mark (good|open|bad)">', section)
    found = counts(inputs.gate.checks)
    # What failed comes before what could not be decided, and that before what holds.
    assert marks == ["bad"] * found.fail + ["open"] * found.undecided + ["good"] * found.hold
    assert found.undecided and section.count("not measured") == 1
    worst = min((c for c in inputs.gate.checks if c.decides and c.margin is not None), key=lambda check: check.margin)
    first = section[section.index("<tbody>") :].split("</tr>")[0]
    assert metric_name(worst) in first and worst.slice in first and signed(worst.margin) in first


def rows_of_degraded_clips(page: str) -> dict[str, list[str]]:
    """The cells of each row of the table on degraded clips, by its name: what stands there, without markup."""
    section = page[page.index('id="robustness"') : page.index('id="curves"')]
    body = section[section.index("<tbody>") : section.index("</tbody>")]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body.split("</tr>")[:-1]]
    texts = [[re.sub(r"<[^>]+>", " ", cell).split() for cell in row] for row in rows]
    return {" ".join(row[0]): [" ".join(cell) for cell in row[1:]] for row in texts}


def test_degraded_clips_stand_beside_the_clean_ones_with_what_could_not_be_measured(page, inputs):
    rows = rows_of_degraded_clips(page)
    robustness = inputs.gate.robustness

    assert list(rows)[:3] == ["clean", "telephone 1", "telephone 2"] and len(rows) == 13
    for (_, cells), row in zip(rows.items(), robustness.rows, strict=True):
        if row.degradation == "opus":
            assert cells == ["not measured", *["\u2013"] * 5]
            continue
        accuracy, error = row.metrics
        figures = (accuracy.candidate, accuracy.baseline, error.candidate, error.baseline)
        assert cells[:4] == [f"{found.value:.3f} {found.low:.3f}\u2013{found.high:.3f}" for found in figures]
        assert cells[4:] == [str(row.no_speech), str(row.baseline_no_speech)]
    assert "<p>Not measured: opus 1, opus 2, opus 3. This machine&#39;s libsndfile 1.0.28 cannot encode OPUS.</p>" in page
    assert "GSM 6.10 at 8 kHz" in page and "a reverberation time" not in page  # only what was measured is described
    reason = "calibration error on degradation=opus, strength=1 could not be measured: this machine's libsndfile 1.0.28 cannot"
    assert any(text.startswith(reason) for text in inputs.gate.reasons)


def test_a_run_that_measured_no_degraded_clips_says_nothing_of_them(inputs):
    gate = inputs.gate.model_copy(update={"robustness": None})
    page = render_report(dataclasses.replace(inputs, gate=gate))

    assert 'id="robustness"' not in page and 'href="#robustness"' not in page


def test_the_mistakes_are_those_of_the_predictions_the_surest_first(page, inputs):
    predictions = inputs.predictions
    wrong = np.flatnonzero(predictions.candidate.argmax(axis=1) != predictions.labels)
    expected = sorted(wrong, key=lambda k: predictions.candidate[k, predictions.labels[k]])
    shown = re.findall(r'<h3 id="clip-\d+">([\w-]+): labelled (\w+), taken for (\w+)</h3>', page)
    assert [row[0] for row in shown] == [predictions.ids[k] for k in expected] == mistakes(predictions)
    assert all(label != said for _, label, said in shown)
    assert page.count("<audio") == page.count('<img alt="Waveform and mel') == len(wrong) == 3


def test_the_charts_follow_the_page_from_light_to_dark(page):
    drawings = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    titles = re.findall(r'role="img"><title>([^<]+)</title><desc>[^<]+</desc>', page)
    of_scores = ["ROC of female", "Precision and recall of female", "Reliability", "Scores for female"]
    assert titles == [*of_scores, "Accuracy by threshold", "Training: loss", "Training: accuracy"]
    for drawing in drawings:
        assert not re.search(r'(?:fill|stroke)="(?!none|var\(|currentColor|transparent)', drawing)


def test_what_is_data_cannot_become_markup(inputs):
    evil = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>'
    predictions = inputs.predictions
    classes = [f"male{evil}", f"female{evil}"]
    gate = inputs.gate.model_copy(update={"classes": classes, "reasons": [evil], "baseline_version": evil})
    changed = dataclasses.replace(
        inputs,
        title=evil,
        gate=gate,
        predictions=dataclasses.replace(predictions, speaker_ids=[(evil,)] * 24, utterance_ids=[(evil,)] * 24, modes=[evil] * 24),
        config={evil: evil},
        facts={evil: evil},
        durations=[(evil, 1.0, False)],
        candidate_name=evil,
        baseline_name=evil,
        warning=evil,
        run_facts={evil: evil},
        corpus=evil,
        standing=Standing("waiting", evil, [(evil, evil)]),
    )
    page = render_report(changed)
    assert "<img src=x" not in page and "<script>alert" not in page
    # Sorting, the sliders, and the predictions that these count.
    assert page.count("<script") == page.count("</script>") == 3


def test_a_first_model_has_nothing_beside_it(inputs):
    predictions = dataclasses.replace(inputs.predictions, baseline=None)
    gate = decided(predictions, ["male", "female"], None)
    page = render_report(dataclasses.replace(inputs, gate=gate, predictions=predictions, baseline_config=None, history=()))
    assert "No model was in serving, so there is no configuration to compare with." in page and "Figures of the candidate" in page
    assert "not known" not in page[page.index('id="lineage"') : page.index('id="card"')].lower()
    assert "difference</th>" not in page and "no training curves" in page


def test_a_model_that_scores_nan_still_gets_its_report(inputs):
    broken = np.full_like(inputs.predictions.candidate, np.nan)
    predictions = dataclasses.replace(inputs.predictions, candidate=broken)
    page = render_report(dataclasses.replace(inputs, gate=decided(predictions, ["male", "female"], "7"), predictions=predictions))
    assert "not a number" in page and "taken for no class" in page


def test_three_classes_have_a_curve_each(tmp_path, index, make_config):
    config = make_config(mixed_share=0.3, num_clips=NumClips(train=4, eval=2, test=24))
    generate_clips(config, index, str(tmp_path / "clips"))
    predictions = write_evaluation(tmp_path / "evaluation", tmp_path / "clips", num_wrong=3)
    write_gate_result(tmp_path / "blessing", decided(predictions, list(config.classes), None))
    found = read_inputs(
        "three", str(tmp_path / "evaluation"), str(tmp_path / "blessing"), reference_to(tmp_path / "clips"), str(tmp_path),
        str(tmp_path / "clips"), {}, None, {},
    )  # fmt: skip
    page = render_report(found)
    assert [f"<title>ROC of {name}</title>" in page for name in config.classes] == [True] * 3


def test_a_page_of_long_clips_stays_small(inputs):
    rng = np.random.default_rng(0)
    noise = rng.integers(-9000, 9000, 60 * 22_050).astype("<i2")
    clips = {key: dataclasses.replace(clip, pcm16=noise, sample_rate_hz=22_050) for key, clip in inputs.clips.items()}
    page = render_report(dataclasses.replace(inputs, clips=clips))
    assert "The first 20 of 60 s" in page and len(page.encode()) < MAX_BYTES


def test_what_of_the_corpus_was_left_out_is_said(inputs, page):
    assert "left out of the corpus" not in page
    dataset = inputs.dataset.model_copy(update={"unlabelled": ["a", "b"], "rejected": 1, "passed_over": 1200})
    text = render_report(dataclasses.replace(inputs, dataset=dataset))
    assert (
        '<dt>left out of the corpus</dt><dd class="wrap">2 speakers without a usable label, 1 file or line of a list '
        "that cannot be used, 1,200 recordings that are not part of the corpus</dd>"
    ) in text


def test_clips_that_are_gone_are_named_without_sound(inputs):
    page = render_report(dataclasses.replace(inputs, clips={}))
    assert page.count("Its audio is no longer available") == 3 and "<audio" not in page


@pytest.mark.parametrize(("missing", "message"), [("evaluation", "predictions"), ("blessing", "gate.json")])
def test_what_the_page_cannot_do_without(dataset, tmp_path, missing, message):
    predictions = write_evaluation(tmp_path / "evaluation", dataset, num_wrong=1)
    write_gate_result(tmp_path / "blessing", decided(predictions, ["male", "female"], None))
    uris = {name: str(tmp_path / name) for name in ("evaluation", "blessing")} | {missing: str(tmp_path / "nothing")}
    with pytest.raises(UserError, match=message):
        read_inputs("x", uris["evaluation"], uris["blessing"], reference_to(dataset), "", str(dataset), {}, None, {})


def test_a_resumed_training_counts_each_epoch_once(tmp_path):
    (tmp_path / "training.csv").write_text("epoch,train_loss\n1,3\n2,2\n2,1\nbroken,5\n3,\n")
    rows = history_of(str(tmp_path))
    assert [row["epoch"] for row in rows] == [1, 2, 3] and rows[1]["train_loss"] == 1 and math.isnan(rows[2]["train_loss"])


def test_the_curves_are_those_of_scikit_learn_and_the_gate():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 400)
    of_female = np.clip(0.5 + 0.3 * (labels - 0.5) + rng.normal(0, 0.2, 400), 0, 1)
    probabilities = np.stack([1 - of_female, of_female], axis=1)
    found = scores(labels, probabilities)
    roc = curves.roc(found, 1)
    assert roc.area == pytest.approx(roc_auc_score(labels, of_female.astype(np.float32)))
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1) and len(roc.x) <= curves.MAX_POINTS
    bins = curves.reliability(found)
    ece = sum(item.clips * abs(item.accuracy - item.confidence) for item in bins) / 400
    assert ece == pytest.approx(estimates(labels, found.probabilities)["ece", None], abs=1e-6)
    counts = curves.score_histogram(found, 1, ["male", "female"])
    assert [sum(counts["male"]), sum(counts["female"])] == [int((labels == 0).sum()), int((labels == 1).sum())]


def test_a_curve_of_one_class_or_of_no_numbers_is_none():
    assert curves.roc(scores([1, 1], [[0.2, 0.8], [0.4, 0.6]]), 1) is None
    assert curves.precision_recall(scores([0, 1], [[math.nan] * 2] * 2), 1) is None
    assert curves.reliability(scores([0, 1], [[math.nan] * 2] * 2)) == []


@pytest.mark.parametrize(
    ("metric", "low", "high", "word"),
    [
        ("accuracy", 0.01, 0.02, "better"),
        ("accuracy", -0.02, -0.01, "worse"),
        ("accuracy", -0.01, 0.02, "no clear difference"),
        ("ece", 0.01, 0.02, "worse"),
        ("ece", -0.02, -0.01, "better"),
    ],
)
def test_better_and_worse(metric, low, high, word):
    item = Compared(metric=metric, candidate=Estimate(value=0.5), difference=Estimate(value=(low + high) / 2, low=low, high=high))
    assert direction(item) == word


@pytest.mark.parametrize(("value", "text"), [(0.0123, "+0.012"), (-0.0123, "\u22120.012"), (-0.0001, "0.000"), (None, "\u2013")])
def test_signed_figures(value, text):
    assert signed(value) == text


def test_the_difference_of_configurations():
    assert config_diff({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [("a.c", "2", "3"), ("d", "-", "4")]


def test_a_training_of_one_epoch_is_a_dot():
    drawing = charts.training([{"epoch": 1, "split": "train", "value": 0.5}], "Loss")
    assert 'fill="var(--candidate)"' in drawing


def test_kubeflow_is_told_that_the_artifact_is_html(inputs, tmp_path):
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils
    from tfx.utils import import_utils

    from components.review_report.artifact import Report, register, write_report

    schema = compiler_utils.get_artifact_schema(Report)
    assert "title: system.HTML" in schema
    register()
    parsed = kubeflow_v2_entrypoint_utils.pipeline_pb2.ArtifactTypeSchema(instance_schema=schema)
    assert import_utils.import_class_by_path(kubeflow_v2_entrypoint_utils._retrieve_class_path(parsed)) is Report
    artifact = Report()
    artifact.uri = str(tmp_path / "value")
    write_report(artifact, "<!doctype html>é")
    assert (tmp_path / "value").read_text(encoding="utf-8") == "<!doctype html>é"
    assert artifact.get_string_custom_property("display_name")


def test_the_component_writes_the_page(inputs, dataset, tmp_path, monkeypatch):
    from tfx.types import standard_artifacts

    from components.pusher.provenance import code_revision
    from components.review_report.artifact import Report
    from components.review_report.executor import Executor
    from components.trainer.config import ModelConfig, TrainConfig
    from components.trainer.model_run import save_spec
    from components.trainer.spec import TrainingSpec

    predictions = write_evaluation(tmp_path / "evaluation", dataset, num_wrong=1)
    write_gate_result(tmp_path / "blessing", decided(predictions, ["male", "female"], None, **LENIENT))
    write_history(tmp_path / "model_run")
    train = TrainConfig(epochs=7)
    spec = TrainingSpec(model=ModelConfig(), train=train, num_samples=1, sample_rate_hz=1, classes=["male", "female"])
    save_spec(spec, str(tmp_path / "model_run"))
    (tmp_path / "clips").mkdir()
    write_reference(reference_to(dataset), str(tmp_path / "clips"))
    taken = {
        "evaluation": standard_artifacts.ModelEvaluation(),
        "blessing": standard_artifacts.ModelBlessing(),
        "clips": Clips(),
        "model_run": standard_artifacts.ModelRun(),
        "serving_check": standard_artifacts.InfraBlessing(),
    }
    for name, artifact in taken.items():
        artifact.uri = str(tmp_path / name)
    report = Report()
    report.uri = str(tmp_path / "value")
    properties = {
        "dataset_uri": str(dataset),
        "config": '{"train": {"epochs": 30}, "push": {"mode": "auto"}}',
        "baseline_config": "null",
        "push_mode": "review",
        "decide_by_package": 1,
    }
    write_serving_check(tmp_path / "serving_check", beside=True)

    monkeypatch.setenv("PIPELINE_RUN_ID", "4a6c")
    monkeypatch.setenv("CODE_REVISION", "1")
    code_revision.cache_clear()
    Executor().Do({name: [artifact] for name, artifact in taken.items()}, {"report": [report]}, properties)
    code_revision.cache_clear()

    page = (tmp_path / "value").read_text()
    assert page.startswith("<!doctype html>") and page.count("<audio") == 1 and "git:1" in page
    # This run's id, and the commands that decide where there is no work folder, as docs/kubernetes-operations.md has them.
    read = text_of(page)
    assert "Waits for a decision" in read and "run 4a6c date 20" in read and " UTC corpus " in read
    for action in ("approve", "reject"):
        submit = f"audio-gender submit decision.yaml --set action={action} --set run_id=4a6c --set by=NAME --set note=TEXT"
        assert f"{action} {submit}" in read
    assert "SavedModel 2.00 MB 4.00 MB 0.50" in read and "CPU for a second of audio 1.5 ms 3.0 ms 0.50" in read
    # The run's own, which go before those that it was compiled with.
    assert re.search(r"train\.epochs</t[dh]>\s*<td[^>]*>7<", page)
