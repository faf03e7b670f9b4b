# SPDX-License-Identifier: Apache-2.0
"""The operating point on the page: Chromium moves the sliders, and scikit-learn counts."""

import dataclasses
from importlib.resources import files

import numpy as np
import pytest
from chromium import Chromium
from clip_datasets import reference_to
from review_artifacts import decided, write_evaluation, write_gate_result, write_history, write_predictions
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, roc_auc_score
from test_review_report import dataset  # noqa: F401  (a fixture)

from components.decision_rule import even_thresholds, predicted_classes
from components.evaluator.predictions import CANDIDATE, read_predictions
from components.review_report import curves
from components.review_report.operating_point import shown
from components.review_report.page import render_report
from components.review_report.read import read_inputs
from components.trainer.model_run import OPERATING_POINT_FILE, save_operating_point
from components.trainer.network.threshold_fit import choose_thresholds

AXE = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(one => one.id))"
CUTS = (0.001, 0.05, 0.137, 0.3, 0.5, 0.501, 0.62, 0.75, 0.9, 0.999)


def leaning(labels: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """Probabilities that lean towards the last class, so that another threshold is better."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 0.8, (len(labels), num_classes)) + 3 * np.eye(num_classes)[labels]
    logits[:, -1] += 2.5
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def inputs_of(folder, dataset, classes, used):  # noqa: F811
    """What the page is made from, of a model that leans; its decision thresholds are chosen on 60 clips of 12 speakers."""
    predictions = write_evaluation(folder / "evaluation", dataset, num_wrong=0)
    labels = np.arange(len(predictions.ids)) % len(classes)
    on_eval = np.arange(60) % len(classes)
    probabilities = leaning(on_eval, len(classes), 1).astype(np.float32)
    point = choose_thresholds(on_eval, probabilities, [(str(number % 12),) for number in range(60)])
    point.used = used
    said = leaning(labels, len(classes), 2).astype(np.float32).tolist()
    rows = [
        {
            **{name: getattr(predictions, name)[k] for name in ("speaker_ids", "utterance_ids")},
            **{"id": clip, "label": int(labels[k]), "mode": predictions.modes[k], CANDIDATE: said[k]},
            **{name: float(getattr(predictions, name)[k]) for name in ("num_speakers", "rms_dbfs", "speech_ratio")},
            f"{CANDIDATE}_classes": classes,
        }
        for k, clip in enumerate(predictions.ids)
    ]
    write_predictions(rows, {CANDIDATE: np.array(point.chosen) if used else even_thresholds(len(classes))}, folder / "evaluation")
    predictions = read_predictions(str(folder / "evaluation"))
    write_gate_result(folder / "blessing", decided(predictions, classes, None))
    write_history(folder / "model_run")
    save_operating_point(point, str(folder / "model_run"))
    return read_inputs(
        title="Run 1",
        evaluation_uri=str(folder / "evaluation"),
        blessing_uri=str(folder / "blessing"),
        clips=reference_to(dataset),
        model_run_uri=str(folder / "model_run"),
        dataset_uri=str(dataset),
        config={},
        baseline_config=None,
        facts={},
    )


@pytest.fixture(scope="module")
def inputs(dataset, tmp_path_factory):  # noqa: F811
    return inputs_of(tmp_path_factory.mktemp("leaning"), dataset, ["male", "female"], used=True)


@pytest.fixture
def browser(tmp_path):
    chromium = Chromium(tmp_path / "profile", tmp_path / "none.wav")
    yield chromium
    chromium.close()


def opened(browser, page: str, tmp_path, width=1280, dark=False):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    browser.show((tmp_path / "page.html").as_uri(), width, dark)
    # What a hand at the slider does.
    browser.run("""window.move = (number, value) => {
      const slider = document.getElementById(`cut-${number}`);
      slider.value = value;
      slider.dispatchEvent(new Event("input"));
    }; 0""")


def split_of(inputs, split):
    if split == "test":
        return inputs.predictions.labels, inputs.predictions.candidate.astype(float)
    return np.array(inputs.operating_point.labels), np.array(inputs.operating_point.probabilities)


def on_the_page(browser, split, num_classes):
    """Accuracy, recalls, mistakes and confusion matrix, as the page shows them."""
    script = f"""(() => {{
      const row = document.querySelector("tr[data-split={split}]"), table = document.querySelector("table[data-split={split}]");
      const text = (from, key) => from.querySelector(key).innerText;
      return [text(row, "[data-figure=accuracy]"),
        [...Array({num_classes}).keys()].map(number => text(row, `[data-figure=recall-${{number}}]`)),
        text(row, "[data-figure=wrong]"),
        [...table.tBodies[0].rows].map(line => [...line.cells].slice(1).map(cell => +cell.innerText))];
    }})()"""
    return browser.run(script)


def by_scikit_learn(labels, predicted, num_classes):
    numbers = list(range(num_classes))
    recalls = recall_score(labels, predicted, labels=numbers, average=None)
    return [
        f"{accuracy_score(labels, predicted):.3f}",
        [f"{value:.3f}" for value in recalls],
        str(int((labels != predicted).sum())),
        confusion_matrix(labels, predicted, labels=numbers).tolist(),
    ]


def test_the_slider_shows_what_scikit_learn_counts_at_ten_thresholds(browser, inputs, tmp_path):
    opened(browser, render_report(inputs), tmp_path)
    seen = set()
    for cut in CUTS:
        move = "slider.value = %s; slider.dispatchEvent(new Event('input')); slider.value"
        assert browser.run(
            f"(() => {{ const slider = document.getElementById('cut-1'); return {move.replace(';', ',') % cut} }})()"
        )
        for split in ("eval", "test"):
            labels, scores = split_of(inputs, split)
            wanted = by_scikit_learn(labels, (scores[:, 1] > cut).astype(int), 2)
            assert on_the_page(browser, split, 2) == wanted, (cut, split)
            seen.add((split, wanted[0]))
        assert browser.text("cut-1-value") == f"{cut:.3f}"
    assert len(seen) > 8, "the thresholds must differ in what they give"
    assert browser.said == []
    assert [address for address in browser.asked if not address.startswith(("file:", "data:"))] == []


def test_with_more_classes_there_is_a_slider_each(browser, dataset, tmp_path):  # noqa: F811
    inputs = inputs_of(tmp_path / "three", dataset, ["male", "female"], used=False)
    classes = ["a", "b", "c"]
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, len(inputs.predictions.ids))
    scores = leaning(labels, 3, 4).astype(np.float32)
    three = dataclasses.replace(
        inputs,
        gate=inputs.gate.model_copy(update={"classes": classes, "slices": [], "checks": []}),
        operating_point=None,
        predictions=dataclasses.replace(inputs.predictions, labels=labels, candidate=scores, candidate_thresholds=None),
    )
    opened(browser, render_report(three), tmp_path)
    assert on_the_page(browser, "test", 3) == by_scikit_learn(labels, scores.argmax(axis=1), 3)
    for values in ((0.2, 0.3, 0.9), (0.9, 0.1, 0.5)):
        for number, value in enumerate(values):
            browser.run(f"move({number}, {value})")
        predicted = (scores.astype(float) / np.array(values)).argmax(axis=1)
        assert on_the_page(browser, "test", 3) == by_scikit_learn(labels, predicted, 3)


def test_it_works_by_keyboard_and_prints_the_chosen_point(browser, inputs, tmp_path):
    opened(browser, render_report(inputs), tmp_path)
    browser.run("document.getElementById('cut-1').focus()")
    before = float(browser.text("cut-1-value"))
    browser.press("ArrowLeft", 37)
    browser.press("ArrowLeft", 37)
    assert float(browser.text("cut-1-value")) == pytest.approx(before - 0.002, abs=6e-4)
    browser.press("Home", 36)
    assert browser.text("cut-1-value") == "0.001"
    labels, scores = split_of(inputs, "test")
    assert on_the_page(browser, "test", 2) == by_scikit_learn(labels, (scores[:, 1] > 0.001).astype(int), 2)

    browser.send("Emulation.setEmulatedMedia", media="print")
    visible = "[...document.querySelectorAll('#operating-point input, .points')].filter(one => one.offsetParent).length"
    assert browser.run(visible) == 0
    assert browser.text("cut-1-value") == "0.001"
    assert on_the_page(browser, "test", 2) == by_scikit_learn(labels, (scores[:, 1] > 0.001).astype(int), 2)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(browser, inputs, tmp_path, width, dark):
    opened(browser, render_report(inputs), tmp_path, width, dark)
    browser.run(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8") + "; 0")
    assert browser.run(AXE) == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_without_a_script_the_models_own_point_is_there(inputs):
    own = shown(inputs)["operating"]
    labels, scores = split_of(inputs, "test")
    predicted = (scores[:, 1] > inputs.predictions.candidate_thresholds[1]).astype(int)
    assert own["matrices"]["test"] == confusion_matrix(labels, predicted).tolist()
    assert own["now"]["test"]["wrong"] == int((predicted != labels).sum())
    (row,) = [row for row in own["rows"] if row["used"]]
    assert row["name"] == "chosen on eval"
    even = own["rows"][0]["splits"]["test"]
    assert even["accuracy"] == pytest.approx(accuracy_score(labels, scores.argmax(axis=1)))
    assert even["wrong"] > row["splits"]["test"]["wrong"]


def test_the_page_says_how_sure_the_choice_is_and_what_hindsight_would_have_chosen(inputs):
    page = render_report(inputs)
    point = inputs.operating_point
    assert "on 60 clips of 12 speakers. Other speakers would have led to another choice: 95 % of resamples" in page
    assert f"give female {point.low[1]:.3f}" in page
    assert "best on these test clips, in hindsight" in page
    old = render_report(dataclasses.replace(inputs, operating_point=None))
    assert "an older version trained this model" in old


@pytest.mark.parametrize("low", [0.3, 0.5, 0.6])
def test_the_page_says_whether_even_thresholds_lie_within_the_interval(inputs, low):
    """A key of the template named `clear` was the method of the dictionary, and always true."""
    point = inputs.operating_point.model_copy(update={"chosen": [0.3, 0.7], "low": [0.2, low], "high": [1 - low, 0.8]})
    page = render_report(dataclasses.replace(inputs, operating_point=point))
    outside, within = "Even thresholds are outside that range." in page, "Even thresholds are within that range, so" in page
    assert (outside, within) == (point.clear(), not point.clear()) == (low > 0.5, low <= 0.5)


def test_no_key_that_a_template_reads_is_a_method_of_a_dictionary(inputs):
    assert not shown(inputs)["operating"].keys() & set(dir(dict))


def test_auc_1_with_mistakes_is_said_to_be_the_thresholds_fault(inputs):
    labels = np.arange(24) % 2
    female = np.where(labels == 1, 0.9, np.where(np.arange(24) < 10, 0.7, 0.2))
    scores = np.stack([1 - female, female], axis=1).astype(np.float32)
    predictions = dataclasses.replace(inputs.predictions, labels=labels, candidate=scores, candidate_thresholds=None)
    page = render_report(dataclasses.replace(inputs, predictions=predictions))
    assert roc_auc_score(labels, female) == 1
    assert "5 of the 5 mistakes on test come from the threshold</strong>: the best one in hindsight makes 0." in page


def test_a_model_that_a_person_gave_other_thresholds_shows_its_own(inputs):
    predictions = dataclasses.replace(inputs.predictions, candidate_thresholds=np.array([0.41, 0.59]))
    rows = shown(dataclasses.replace(inputs, predictions=predictions))["operating"]["rows"]
    assert [(row["name"], row["thresholds"]) for row in rows if row["used"]] == [("the model's own", "female above 0.590")]


def test_the_operating_point_lies_on_the_roc_curve(inputs):
    labels, scores = split_of(inputs, "test")
    cut = np.array([0.3, 0.7])
    _, false_positive, true_positive = curves.operating_point(curves.Scores("m", labels, scores, cut), 1)
    predicted = predicted_classes(scores, cut)
    assert true_positive == pytest.approx(recall_score(labels, predicted))
    assert false_positive == pytest.approx(1 - recall_score(labels, predicted, pos_label=0))
    assert render_report(inputs).count("the dot is the threshold that the model uses") >= 1


def test_a_damaged_operating_point_is_a_line(inputs, tmp_path):
    from beam_jobs.errors import UserError
    from components.review_report.read import operating_point_of

    assert operating_point_of(str(tmp_path)) is None
    (tmp_path / OPERATING_POINT_FILE).write_text("{")
    with pytest.raises(UserError, match=f"{OPERATING_POINT_FILE}: damaged; make a new run"):
        operating_point_of(str(tmp_path))
