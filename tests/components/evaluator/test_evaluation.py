# SPDX-License-Identifier: Apache-2.0
"""TFMA's figures and the raw predictions, by real evaluations of small models."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from clip_datasets import framed, reference_to, write_dataset
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, roc_auc_score

from beam_jobs.errors import UserError
from beam_jobs.examples import LABEL, MODE, NUM_SPEAKERS
from components.evaluator import clip_metrics
from components.evaluator.predictions import read_predictions
from components.evaluator.results import read_metrics, slice_name
from components.evaluator.slices import loudness, slices_of, speech

CLASSES = ["male", "female"]


def calibration_error(labels, scores):
    """Expected calibration error, bin by bin as in the paper."""
    confidence, right = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1) == labels
    edges, error = np.linspace(0, 1, 16), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & ((confidence < high) | (high == 1))
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def by_scikit_learn(labels, scores):
    """Every figure of some clips, from labels and scores alone."""
    predicted = scores.argmax(axis=1)
    found: dict[tuple[str, int | None], float | None] = {
        ("clips", None): len(labels),
        ("accuracy", None): accuracy_score(labels, predicted),
        ("ece", None): calibration_error(labels, scores),
    }
    for number in range(scores.shape[1]):
        of_class = labels == number
        both = 0 < of_class.sum() < len(labels)
        found["auc", number] = roc_auc_score(of_class, scores[:, number].astype(np.float64)) if both else None
        recall = recall_score(of_class, predicted == number, zero_division=np.nan) if of_class.any() else None
        found["recall", number] = recall
    return found


@pytest.fixture(scope="module")
def compared(evaluation) -> str:
    """The folder of an evaluation of the trained network against a poorer one."""
    return evaluation("trained", "noisy")


@pytest.mark.parametrize("model", ["candidate", "baseline"])
def test_every_figure_on_every_slice_is_that_of_scikit_learn_from_the_raw_predictions(compared, model):
    predictions = read_predictions(compared)
    scores = getattr(predictions, model)
    reported = read_metrics(compared, CLASSES, model)
    slices = slices_of(predictions, CLASSES)

    assert set(reported) == set(slices)
    assert {name.split("=")[0] for name in slices} == {"all", "label", "mode", "speakers", "loudness", "speech", "subset"}
    for name, inside in slices.items():
        expected = by_scikit_learn(predictions.labels[inside], scores[inside])
        assert reported[name] == {
            key: None if value is None else pytest.approx(value, abs=1e-6) for key, value in expected.items()
        }
    assert 0.5 < read_metrics(compared, CLASSES, "baseline")["all"]["accuracy", None] < 1


def test_auc_is_not_defined_where_there_is_one_class(compared):
    found = read_metrics(compared, CLASSES)["label=female"]
    assert (found["auc", 0], found["auc", 1], found["recall", 0]) == (None, None, None)
    assert found["recall", 1] == found["accuracy", None]


def test_the_raw_predictions_are_what_the_models_say_about_the_clips(compared, test_clips, saved_models):
    import tensorflow as tf

    from beam_jobs.examples import encode_clip

    predictions = read_predictions(compared)
    ordered = sorted(test_clips, key=lambda clip: clip.id)
    assert predictions.ids == [clip.id for clip in ordered]
    assert predictions.labels.tolist() == [clip.label for clip in ordered]
    assert predictions.modes == [clip.mode for clip in ordered]
    assert predictions.speaker_ids == [clip.speaker_ids for clip in ordered]
    assert predictions.utterance_ids == [clip.utterance_ids for clip in ordered]
    assert predictions.num_speakers.tolist() == [len(set(clip.speaker_ids)) for clip in ordered]
    assert predictions.rms_dbfs == pytest.approx([clip.rms_dbfs for clip in ordered])
    assert predictions.speech_ratio == pytest.approx([clip.speech_ratio for clip in ordered])
    assert predictions.candidate_classes == CLASSES
    for model, scores in (("trained", predictions.candidate), ("noisy", predictions.baseline)):
        serve = tf.saved_model.load(saved_models[model]).signatures["serving_default"]
        answer = serve(tf.constant([encode_clip(clip) for clip in ordered]))["probabilities"].numpy()
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, answer, atol=1e-5)


def test_without_a_baseline_there_are_the_same_figures_of_the_candidate(compared, evaluation):
    alone = evaluation("trained", None)
    predictions = read_predictions(alone)

    assert predictions.baseline is None
    for name, found in read_metrics(alone, CLASSES).items():
        assert found == pytest.approx(read_metrics(compared, CLASSES)[name], abs=1e-5)


def test_an_empty_test_split_stops_the_evaluation(evaluate_clips, test_clips, tmp_path):
    dataset = write_dataset(tmp_path / "clips", {"train": [test_clips[:2]], "test": [[]]})
    with pytest.raises(UserError, match=r"the test split holds no clips; set clips\.num_clips\.test"):
        evaluate_clips(reference_to(dataset), "trained", None)


def test_a_clip_that_is_not_what_was_checked_stops_the_evaluation(evaluate_clips, test_clips, tmp_path):
    dataset = write_dataset(tmp_path / "clips", {"test": [test_clips]})
    reference = reference_to(dataset)
    (shard,) = dataset.rglob("*.tfrecord")
    shard.write_bytes(framed(test_clips[::-1])[0])  # all records whole
    with pytest.raises(UserError, match=r"^\S+/clips-00000-of-00001.tfrecord: its checksum is not .*start the run again"):
        evaluate_clips(reference, "trained", None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("three classes", r"probabilities of shape \(None, 3\), but 2 classes are expected"),
        ("no probabilities", "gives no probabilities"),
        ("no signature", "has no signature serving_default, only other"),
        ("nothing", "holds no SavedModel"),
    ],
)
def test_a_model_that_does_not_promise_probabilities_stops_the_evaluation(evaluation, model, message):
    with pytest.raises(UserError, match=message):
        evaluation(model, None)


def test_confusion_matrix_has_a_row_a_label_and_nothing_of_a_clip_without_a_prediction():
    labels = np.array([0, 0, 1, 2, 2])
    scores = np.eye(3)[[0, 1, 1, 0, 2]]
    assert clip_metrics.confusion_matrix(labels, scores) == confusion_matrix(labels, scores.argmax(axis=1)).tolist()
    scores[0] = np.nan
    assert clip_metrics.confusion_matrix(labels, scores)[0] == [0, 1, 0]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ((), "all"),
        (((LABEL, 1),), "label=female"),
        (((LABEL, b"0"),), "label=male"),
        (((MODE, b"sequential"),), "mode=sequential"),
        ((("loudness", b"-30..-24 dBFS"),), "loudness=-30..-24 dBFS"),
        (((MODE, "sequential"), (NUM_SPEAKERS, 2)), "mode=sequential, speakers=2"),
    ],
)
def test_a_slice_in_words(key, words):
    assert slice_name(key, CLASSES) == words


def test_buckets_of_loudness_and_speech():
    assert [loudness(value) for value in (-90.0, -30.0, -24.1, -24.0, -0.1)] == [
        "-90..-84 dBFS",
        "-30..-24 dBFS",
        "-30..-24 dBFS",
        "-24..-18 dBFS",
        "-6..0 dBFS",
    ]
    assert [speech(value) for value in (0.0, 0.2, 0.799, 1.0)] == ["0..20 %", "20..40 %", "60..80 %", "80..100 %"]


def test_files_lie_where_the_contract_says(compared):
    folder = Path(compared) / "predictions"
    shards = sorted(folder.glob("clips-*-of-*.jsonl"))
    assert shards and {path.name for path in folder.iterdir()} == {"models.json", *(path.name for path in shards)}
