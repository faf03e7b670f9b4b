# SPDX-License-Identifier: Apache-2.0
"""Decision thresholds by class, from the exported model to whatever shows or counts labels."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import FixedThresholdClassifier

from beam_jobs.audio_stream import AudioStream
from components.decision_rule import predicted_classes, thresholds_of
from components.evaluator.clip_metrics import confusion_matrix, estimates
from components.evaluator.predictions import read_predictions
from components.evaluator.results import read_metrics
from components.evaluator.slices import slices_of
from components.export.convert import FORMATS
from components.export.export import export_model
from components.gate.config import GateConfig
from components.gate.robustness import figures
from components.inference import listen, load_model
from components.inference.beam_handler import RecordingHandler
from components.robustness.config import RobustnessConfig
from components.robustness.measure import measure

CLASSES = ["male", "female"]
THRESHOLDS = [0.002, 0.998]


class Known(ClassifierMixin, BaseEstimator):
    """A classifier of scikit-learn whose probabilities are its input."""

    def __init__(self) -> None:
        self.classes_ = np.array([0, 1])

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return x


@pytest.mark.parametrize("cut", [0.05, 0.3, 0.5, 0.77, 0.98])
def test_two_classes_are_decided_as_scikit_learn_decides_by_a_fixed_threshold(cut):
    female = np.random.default_rng(0).beta(0.5, 0.5, 500)
    probabilities = np.stack([1 - female, female], axis=1)
    referee = FixedThresholdClassifier(Known(), threshold=cut, response_method="predict_proba").fit(probabilities[:2], [0, 1])

    assert predicted_classes(probabilities, np.array([1 - cut, cut])).tolist() == referee.predict(probabilities).tolist()


def test_even_thresholds_and_none_are_the_most_probable_class_of_any_number_of_classes():
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), 200)
    assert predicted_classes(probabilities).tolist() == probabilities.argmax(axis=1).tolist()
    assert predicted_classes(probabilities, np.full(4, 0.25)).tolist() == probabilities.argmax(axis=1).tolist()


def test_calibration_and_auc_do_not_follow_the_threshold():
    rng = np.random.default_rng(2)
    labels, female = rng.integers(0, 2, 300), rng.uniform(size=300)
    probabilities = np.stack([1 - female, female], axis=1)
    even, other = estimates(labels, probabilities), estimates(labels, probabilities, np.array(THRESHOLDS))

    assert even["accuracy", None] != other["accuracy", None]
    assert all(even[key] == other[key] for key in even if key[0] in ("ece", "auc"))
    assert confusion_matrix(labels, probabilities, np.array(THRESHOLDS))[0][1] == sum((labels == 0) & (female > 0.998))


def test_tfma_gate_and_slices_judge_what_the_user_gets(evaluation):
    folder = evaluation("reluctant", "trained")
    predictions = read_predictions(folder)

    assert predictions.candidate_thresholds == pytest.approx(THRESHOLDS, abs=1e-6)
    assert predictions.baseline_thresholds.tolist() == [0.5, 0.5]
    assert predictions.candidate == pytest.approx(predictions.baseline, abs=1e-6)
    said = (predictions.candidate[:, 1].astype(float) > predictions.candidate_thresholds[1]).astype(int)
    assert (said != predictions.baseline.argmax(axis=1)).any()
    ours, theirs = read_metrics(folder, CLASSES), read_metrics(folder, CLASSES, "baseline")
    for name, inside in slices_of(predictions, CLASSES).items():
        labels = predictions.labels[inside]
        assert ours[name]["accuracy", None] == pytest.approx(accuracy_score(labels, said[inside]))
        for number in set(labels.tolist()):
            recall = recall_score(labels == number, said[inside] == number)
            assert ours[name]["recall", number] == pytest.approx(recall)
        assert ours[name]["ece", None] == pytest.approx(theirs[name]["ece", None], abs=1e-6)


def test_the_robustness_table_follows_the_threshold(saved_models, test_dataset):
    config = RobustnessConfig(num_clips=20, degradations=["low_pass"], strengths=[1])
    models = {"candidate": saved_models["reluctant"], "baseline": saved_models["trained"]}
    scores = measure(test_dataset, models, config, CLASSES, seed=0)
    clean = figures(GateConfig(bootstrap_samples=100), scores).rows[0].metrics[0]

    answers = np.array(scores.conditions[0].candidate.probabilities)
    assert clean.candidate.value == pytest.approx(np.mean((answers[:, 1] > scores.thresholds["candidate"][1]) == scores.labels))
    assert clean.baseline.value == pytest.approx(np.mean(answers.argmax(axis=1) == scores.labels))
    assert clean.candidate.value < clean.baseline.value


@pytest.fixture(scope="module")
def doubtful(saved_models, make_voice) -> np.ndarray:
    """A recording at the model's rate that the two models call differently."""
    serve = tf.saved_model.load(saved_models["trained"]).signatures["waveform"]
    for seed in range(300, 360):
        samples = make_voice(1, seed, 16_000, 8000)
        if 0.55 < float(serve(tf.constant([samples]))["probabilities"][0, 1]) < 0.99:
            return samples
    pytest.fail("the network is sure of all voices")


def test_every_label_follows_the_threshold_that_the_model_stores(saved_models, doubtful, tmp_path):
    soundfile.write(tmp_path / "voice.wav", doubtful, 8000, subtype="FLOAT")
    recording = str(tmp_path / "voice.wav")
    labels = {}
    for name in ("trained", "reluctant"):
        model = load_model(saved_models[name], band=0)
        signatures = model.signatures
        content = tf.constant([Path(recording).read_bytes()])
        timeline = model.timeline(io.BytesIO(Path(recording).read_bytes()), "voice.wav")
        blocks = iter([doubtful, doubtful[:0]])
        stream = AudioStream(8000, lambda _: next(blocks))  # noqa: B023  (used before the next turn)
        labels[name] = {
            "signature": signatures["wav"](wav=content)["label"].numpy()[0].decode(),
            "timeline signature": signatures["timeline"](wav=content)["label"].numpy()[0].decode(),
            "predict": model.predict(recording).label,
            "timeline": timeline.prediction.label,
            "samples": model.predict_samples(doubtful, 8000).label,
            "Beam job": RecordingHandler(saved_models[name]).row(model, recording, "voice.wav")["label"],
        }
        assert {segment.label for segment in timeline.segments} == {labels[name]["predict"]}
        assert [moment.label for moment in listen(model, stream)] == [labels[name]["predict"]]
    assert set(labels["trained"].values()) == {"female"}
    assert set(labels["reluctant"].values()) == {"male"}


def test_silence_has_no_label(saved_models):
    answer = tf.saved_model.load(saved_models["reluctant"]).signatures["waveform"](tf.zeros([1, 8000]))
    assert (answer["speech"].numpy()[0], answer["label"].numpy()[0]) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(FORMATS))
def test_an_exported_file_names_the_class_by_the_threshold(target, saved_models, doubtful, tmp_path):
    if missing := [name for name in FORMATS[target][0] if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    soundfile.write(tmp_path / "voice.wav", doubtful, 8000, subtype="FLOAT")
    said = {}
    for name in ("trained", "reluctant"):
        made = export_model(Path(saved_models[name]), target, tmp_path / name, [str(tmp_path / "voice.wav")])
        run = FORMATS[target][2](made.path.read_bytes())
        said[name] = [int(run(doubtful)["label"]), int(run(np.zeros(8000, np.float32))["label"])]
    assert said == {"trained": [1, -1], "reluctant": [0, -1]}


def test_a_model_from_before_there_were_thresholds_takes_the_most_probable_class(saved_models):
    signatures = dict(tf.saved_model.load(saved_models["right"]).signatures)
    assert thresholds_of(signatures, 2).tolist() == [0.5, 0.5]
