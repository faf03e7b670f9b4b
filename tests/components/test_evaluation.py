"""The gate's thresholds and their results in words, by real evaluations of small models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from beam_jobs.examples import LABEL, MODE, NUM_SPEAKERS, Clip, encode_clip, frame_record
from components.evaluator.config import GateConfig
from components.evaluator.eval_config import eval_config
from components.evaluator.results import failures, metrics_by_slice, slice_name

CLASSES = ("male", "female")
ANY = GateConfig(min_accuracy=0.0, min_slice_accuracy=0.0, min_auc=0.0)


@pytest.fixture(scope="module")
def test_shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips: male and female evenly, one speaker in the sequential ones and two in the others."""
    path = tmp_path_factory.mktemp("evaluation") / "clips.tfrecord"
    with path.open("wb") as file:
        for number in range(8):
            mode, speakers = (("sequential", ("1",)), ("simultaneous", ("1", "2")))[number // 4]
            pcm16 = np.zeros(8, np.int16)
            clip = Clip(f"test-{number}", number % 2, mode, speakers, ("1-1-0000",), -20.0 - number, 0.9, 8000, pcm16)
            file.write(b"".join(frame_record(encode_clip(clip))))
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SavedModels that know the answer, that mistake the last clip, and that say male always."""
    import tensorflow as tf

    class Guess(tf.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind = kind

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples):
            features = {LABEL: tf.io.FixedLenFeature([], tf.int64), "clip/rms_dbfs": tf.io.FixedLenFeature([], tf.float32)}
            clips = tf.io.parse_example(examples, features)
            label = tf.cast(clips[LABEL], tf.float32)
            if self.kind == "mistaken":
                label = tf.where(clips["clip/rms_dbfs"] < -26.5, 1 - label, label)
            female = 0.1 + 0.8 * label if self.kind != "always male" else 0.2 + 0.0 * label
            return {"probabilities": tf.stack([1 - female, female], axis=1)}

    folder = tmp_path_factory.mktemp("models")
    for kind in ("right", "mistaken", "always male"):
        module = Guess(kind)
        tf.saved_model.save(module, str(folder / kind), signatures={"serving_default": module.serve.get_concrete_function()})
    return {kind: str(folder / kind) for kind in ("right", "mistaken", "always male")}


@pytest.fixture
def evaluate(models, test_shard, tmp_path) -> Callable[..., str]:
    """A function that evaluates as TFX's Evaluator does and returns the evaluation's folder."""
    import tensorflow_model_analysis as tfma

    def run(gate: GateConfig, candidate: str, baseline: str | None = None) -> str:
        config = tfma.utils.update_eval_config_with_defaults(
            eval_config(gate, CLASSES, has_baseline=baseline is not None),
            has_baseline=baseline is not None,
        )
        shared = [
            tfma.default_eval_shared_model(models[candidate], model_name="candidate" if baseline else "", eval_config=config)
        ]
        if baseline:
            shared.append(tfma.default_eval_shared_model(models[baseline], model_name="baseline", eval_config=config))
        folder = str(tmp_path / f"{candidate} against {baseline}")
        tfma.run_model_analysis(shared if baseline else shared[0], config, data_location=str(test_shard), output_path=folder)
        return folder

    return run


def test_a_good_model_has_no_failures_and_its_metrics_by_slice(evaluate):
    evaluation = evaluate(GateConfig(min_accuracy=1.0, min_slice_accuracy=1.0, min_auc=0.99), "right")

    assert failures(evaluation, CLASSES) == []
    metrics = metrics_by_slice(evaluation, CLASSES)
    assert list(metrics) == [
        "all",
        "label=male",
        "label=female",
        "mode=sequential",
        "mode=simultaneous",
        "speakers=1",
        "speakers=2",
    ]
    assert metrics["all"] == {
        "clips": 8,
        "accuracy": 1.0,
        "auc": {"male": pytest.approx(1), "female": pytest.approx(1)},
        "confusion_matrix": [[4, 0], [0, 4]],
    }
    assert metrics["label=female"]["confusion_matrix"] == [[0, 0], [0, 4]]
    assert metrics["label=female"]["auc"] == {"male": None, "female": None}


def test_every_threshold_that_does_not_hold_is_told_by_metric_slice_value_and_bound(evaluate):
    evaluation = evaluate(GateConfig(min_accuracy=0.9, min_slice_accuracy=0.8, min_auc=0.7), "always male")

    assert failures(evaluation, CLASSES)[0] == "accuracy on all is 0.5000, below 0.9"
    assert set(failures(evaluation, CLASSES)) == {
        "accuracy on all is 0.5000, below 0.9",
        "auc of male on all is 0.5000, below 0.7",
        "auc of female on all is 0.5000, below 0.7",
        "accuracy on label=female is 0.0000, below 0.8",
        "accuracy on mode=sequential is 0.5000, below 0.8",
        "accuracy on mode=simultaneous is 0.5000, below 0.8",
        "accuracy on speakers=1 is 0.5000, below 0.8",
        "accuracy on speakers=2 is 0.5000, below 0.8",
    }


def test_one_weak_slice_is_enough_to_refuse(evaluate):
    evaluation = evaluate(GateConfig(min_accuracy=0.8, min_slice_accuracy=0.8, min_auc=0.0), "mistaken")
    assert set(failures(evaluation, CLASSES)) == {
        "accuracy on label=female is 0.7500, below 0.8",
        "accuracy on mode=simultaneous is 0.7500, below 0.8",
        "accuracy on speakers=2 is 0.7500, below 0.8",
    }


@pytest.mark.parametrize(
    ("candidate", "baseline", "max_accuracy_loss", "expected"),
    [
        ("mistaken", "right", 0.0, ["accuracy on all is 0.1250 below the model now in serving"]),
        ("mistaken", "right", 0.125, []),
        ("mistaken", "mistaken", 0.0, []),
        ("right", "mistaken", 0.0, []),
    ],
)
def test_a_model_must_be_no_worse_than_the_one_in_serving(evaluate, candidate, baseline, max_accuracy_loss, expected):
    gate = ANY.model_copy(update={"max_accuracy_loss": max_accuracy_loss})
    evaluation = evaluate(gate, candidate, baseline)

    assert failures(evaluation, CLASSES) == expected
    accuracy = metrics_by_slice(evaluation, CLASSES)["all"]["accuracy"]
    assert accuracy == {"right": 1.0, "mistaken": 0.875}[candidate]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ((), "all"),
        (((LABEL, 1),), "label=female"),
        (((LABEL, b"0"),), "label=male"),
        (((MODE, b"sequential"),), "mode=sequential"),
        (((MODE, "sequential"), (NUM_SPEAKERS, 2)), "mode=sequential, speakers=2"),
    ],
)
def test_a_slice_in_words(key, words):
    assert slice_name(key, CLASSES) == words


def test_thresholds_are_where_the_gate_says():
    config = eval_config(GateConfig(min_accuracy=0.9, min_slice_accuracy=0.8, max_accuracy_loss=0.05), CLASSES, True)

    overall, sliced = config.metrics_specs[0].metrics[0].per_slice_thresholds
    assert [list(spec.feature_keys) for spec in overall.slicing_specs] == [[]]
    assert overall.threshold.value_threshold.lower_bound.value == 0.9
    assert overall.threshold.change_threshold.absolute.value == pytest.approx(-0.05, abs=1e-5)
    assert [list(spec.feature_keys) for spec in sliced.slicing_specs] == [[LABEL], [MODE], [NUM_SPEAKERS]]
    assert sliced.threshold.value_threshold.lower_bound.value == 0.8
    assert not sliced.threshold.HasField("change_threshold")
    assert [spec.is_baseline for spec in config.model_specs] == [False, True]
