# SPDX-License-Identifier: Apache-2.0
import csv
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras
from rich.console import Console

from beam_jobs.errors import UserError
from components.trainer.config import ModelConfig, TrainConfig
from components.trainer.model_run import load_spec
from components.trainer.monitoring import callbacks
from components.trainer.monitoring.callbacks import EpochProgress
from components.trainer.monitoring.monitor import Monitor, MonitoringCrops, draw_crops, watched
from components.trainer.monitoring.plots import draw_confusion_matrix, draw_model, pixels
from components.trainer.network.model import ClipNetwork, build_model
from components.trainer.spec import TrainingSpec
from components.trainer.training import learning_rate

CLASSES = ["male", "female"]


class Recorder:
    """A log that keeps what it is given."""

    def __init__(self):
        self.epochs, self.reports = [], []

    def epoch(self, epoch, values):
        self.epochs.append((epoch, values))

    def report(self, epoch, split, text, matrix):
        self.reports.append(SimpleNamespace(epoch=epoch, split=split, text=text, matrix=matrix))

    def close(self, failed):
        pass


def tiny_network() -> keras.Model:
    """Takes rows of 2 numbers for logits, after a layer that starts as the identity."""
    logits = keras.Input([2])
    probabilities = keras.layers.Dense(2, "softmax", kernel_initializer="identity", name="probabilities")(logits)
    unsure = 0.0 * logits
    network = ClipNetwork(logits, {"probabilities": probabilities, "speech": unsure, "speech_target": unsure}, name="tiny")
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    network.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=[accuracy])
    return network


def crops_of(pairs: list[tuple[int, int]]) -> MonitoringCrops:
    """Crops that `tiny_network` answers as told: (label, prediction)."""
    waveform = np.array([[5.0, -5.0] if predicted == 0 else [-5.0, 5.0] for _, predicted in pairs], np.float32)
    return MonitoringCrops(waveform, np.array([label for label, _ in pairs]))


PAIRS = [(0, 0)] * 5 + [(0, 1)] * 2 + [(1, 0)] * 1 + [(1, 1)] * 6


def train_tiny(watchers, epochs: int = 2, **fit) -> keras.Model:
    network, data = tiny_network(), crops_of(PAIRS)
    arguments = {"validation_data": (data.waveform, data.label), "epochs": epochs, "verbose": 0, **fit}
    network.fit(data.waveform, data.label, callbacks=watchers, **arguments)
    return network


def settings(**train) -> TrainingSpec:
    settings = TrainConfig(**{"monitor_every": 2, "seed": 7, **train})
    return TrainingSpec(model=ModelConfig(), train=settings, num_samples=2, sample_rate_hz=1, classes=CLASSES)


def scalars_texts_images(folder: Path) -> SimpleNamespace:
    """What TensorBoard reads: {tag: {step: value}} each of scalars, texts and images (uint8 [height, width, 4])."""
    read = SimpleNamespace(scalars={}, texts={}, images={})
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                content = tf.make_ndarray(value.tensor)
                plugin = value.metadata.plugin_data.plugin_name
                if plugin == "scalars":
                    read.scalars.setdefault(value.tag, {})[event.step] = float(content)
                elif plugin == "text":
                    read.texts.setdefault(value.tag, {})[event.step] = np.ravel(content)[0].decode()
                elif plugin == "images":
                    read.images.setdefault(value.tag, {})[event.step] = tf.io.decode_png(content[2]).numpy()
    return read


@pytest.fixture(scope="module")
def events(trained) -> SimpleNamespace:
    folder = Path(trained.model_run_dir)
    return SimpleNamespace(train=scalars_texts_images(folder / "train"), eval=scalars_texts_images(folder / "eval"))


# A training by run_fn, six epochs with a report every five.


def test_tensorboard_holds_every_epoch_of_both_splits(events):
    assert set(events.train.scalars) == {"loss", "accuracy", "learning_rate"}
    assert set(events.eval.scalars) == {"loss", "accuracy"}
    for read in (events.train, events.eval):
        for values in read.scalars.values():
            assert list(values) == [1, 2, 3, 4, 5, 6]
    assert events.train.scalars["loss"][6] < events.train.scalars["loss"][1]


def test_the_learning_rate_is_that_of_the_epoch(trained, events):
    train = TrainingSpec.of(trained).train

    expected = [learning_rate(train, epoch) for epoch in range(6)]
    assert list(events.train.scalars["learning_rate"].values()) == pytest.approx(expected)


def test_reports_come_every_few_epochs_and_at_the_end(events):
    for read in (events.train, events.eval):
        assert list(read.texts["classification_report"]) == list(read.images["confusion_matrix"]) == [5, 6]
        assert all(image.shape[2] == 4 and image.std() > 0 for image in read.images["confusion_matrix"].values())
    assert re.search(r"male +\d\.\d\d +\d\.\d\d +\d\.\d\d +16\n", events.train.texts["classification_report"][6])
    assert re.search(r"accuracy +\d\.\d\d +16\n", events.eval.texts["classification_report"][6])


def test_the_table_and_the_log_hold_every_epoch(trained, events):
    folder = Path(trained.model_run_dir)
    with (folder / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    log = (folder / "training.log").read_text()

    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [float(row["eval_loss"]) for row in rows] == pytest.approx(list(events.eval.scalars["loss"].values()))
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d epoch \d: train loss .* eval loss ", log, re.MULTILINE)) == 6
    assert log.count("classification report of eval after epoch ") == 2
    assert " done\n" in log and log.endswith("(serving.decision_threshold is argmax)\n")


def test_what_was_trained_can_be_loaded(trained):
    spec = load_spec(trained.model_run_dir)

    # Where the clips were is not of the model: a work folder may be moved.
    assert spec == TrainingSpec.of(trained).model_copy(update={"clips": None})
    assert spec.model != ModelConfig() and spec.train != TrainConfig()


def test_the_folder_holds_a_picture_of_the_model(trained):
    picture = tf.io.decode_png((Path(trained.model_run_dir) / "model.png").read_bytes()).numpy()

    assert picture.shape[0] > picture.shape[1] > 500


def test_wandb_is_not_imported_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would now raise

    with watched(str(tmp_path), tiny_network(), settings(), {"eval": crops_of(PAIRS)}) as watchers:
        train_tiny(watchers)

    assert not (tmp_path / "wandb").exists()


# What is monitored.


def test_crops_are_drawn_once_and_as_balanced_as_the_data(shards, transform_graph):
    transform = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()

    draws = [draw_crops([str(shards / "train" / "*.tfrecord")], transform, 32, 4000, seed=3) for _ in range(2)]

    assert draws[0].waveform.shape == (32, 4000)
    assert sorted(draws[0].label) == [0] * 16 + [1] * 16
    assert np.abs(draws[0].waveform).max(axis=1).min() > 0
    np.testing.assert_array_equal(draws[0].waveform, draws[1].waveform)
    np.testing.assert_array_equal(draws[0].label, draws[1].label)


def test_a_split_with_fewer_clips_is_taken_whole(shards, transform_graph):
    transform = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()

    crops = draw_crops([str(shards / "eval" / "*.tfrecord")], transform, 64, 4000, seed=3)

    assert len(crops.waveform) == len(crops.label) == 16


def test_report_and_matrix_count_what_the_network_says():
    recorder = Recorder()
    monitor = Monitor({"eval": crops_of(PAIRS)}, CLASSES, 1, [recorder])

    train_tiny([monitor], epochs=2)

    (report,) = recorder.reports  # of epoch 1: the last is for whoever knows the weights that are kept
    assert (report.epoch, report.split) == (1, "eval")
    assert re.search(r"female +0\.75 +0\.86 +0\.80 +7\n", report.text)  # 6 of 8, 6 of 7
    expected, other = ([[5, 2], [1, 6]], [[5, 1], [2, 6]])
    assert np.array_equal(report.matrix, pixels(draw_confusion_matrix(np.array(expected), CLASSES, "eval, epoch 1")))
    assert not np.array_equal(report.matrix, pixels(draw_confusion_matrix(np.array(other), CLASSES, "eval, epoch 1")))


def test_crops_of_one_class_are_reported_on():
    recorder = Recorder()
    monitor = Monitor({"train": crops_of([(1, 1)] * 3)}, CLASSES, 1, [recorder])

    train_tiny([monitor])

    assert re.search(r" male +0\.00 +0\.00 +0\.00 +0\n +female +1\.00 +1\.00 +1\.00 +3\n", recorder.reports[0].text)


def test_the_last_report_is_of_the_weights_that_are_kept(tmp_path):
    with watched(str(tmp_path), tiny_network(), settings(monitor_every=100), {"eval": crops_of(PAIRS)}) as watchers:
        network = train_tiny(watchers)
        network.set_weights([np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2)])  # every answer turned round

    texts = scalars_texts_images(tmp_path / "eval").texts["classification_report"]
    assert list(texts) == [2]
    assert re.search(r"accuracy +0\.21 +14\n", texts[2])


def test_a_training_that_stops_early_is_reported_on_once_at_its_end(tmp_path, capsys):
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=100, restore_best_weights=True)
    with watched(str(tmp_path), tiny_network(), settings(monitor_every=1), {"eval": crops_of(PAIRS)}) as watchers:
        train_tiny([stopping, *watchers], epochs=9)

    assert list(scalars_texts_images(tmp_path / "eval").texts["classification_report"]) == [1, 2]
    assert (tmp_path / "training.log").read_text().count("classification report of eval after epoch 2") == 1
    assert "  training: stopped early after epoch 2 of 9\n" in capsys.readouterr().err


def test_a_training_that_fails_is_closed_without_a_report(tmp_path):
    with (
        pytest.raises(UserError, match="diverged"),
        watched(str(tmp_path), tiny_network(), settings(), {"eval": crops_of(PAIRS)}) as watchers,
    ):
        train_tiny(watchers)
        raise UserError("training diverged")

    log = (tmp_path / "training.log").read_text()
    assert log.endswith("failed\n")
    assert "classification report" not in log


def test_a_resumed_training_goes_on_in_the_same_files(tmp_path):
    for first in (0, 2):
        with watched(str(tmp_path), tiny_network(), settings(), {"eval": crops_of(PAIRS)}) as watchers:
            train_tiny(watchers, epochs=first + 2, initial_epoch=first)

    lines = (tmp_path / "training.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "4"]
    # Sorted: two files of events of the same second come in the order of a counter's text, 10 before 9.
    assert sorted(scalars_texts_images(tmp_path / "train").scalars["loss"]) == [1, 2, 3, 4]


def test_other_workers_than_the_chief_write_nothing(tmp_path):
    with watched(str(tmp_path / "logs"), tiny_network(), settings(), {}, is_chief=False) as watchers:
        train_tiny(watchers)

    assert watchers == []
    assert list(tmp_path.iterdir()) == []


# Weights & Biases.


@pytest.fixture
def wandb():
    """The package, which has not yet read its environment variables."""
    wandb = pytest.importorskip("wandb", reason="the optional package wandb is not installed")
    wandb.teardown()
    yield wandb
    wandb.teardown()


def test_wandb_offline_holds_scalars_reports_and_matrices(wandb, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "logs"

    with watched(str(folder), tiny_network(), settings(wandb_project="voices"), {"eval": crops_of(PAIRS)}) as watchers:
        train_tiny(watchers, epochs=3)

    (run,) = (folder / "wandb").glob("offline-run-*")
    (records,) = run.glob("run-*.wandb")
    content = records.read_bytes()
    for name in ("train/loss", "train/learning_rate", "eval/accuracy", "eval/classification_report", "eval/confusion_matrix"):
        assert name.encode() in content
    assert b"voices" in content
    assert b"monitor_every" in content
    media = {path.suffix for path in run.rglob("*") if path.is_file()}
    assert {".png", ".html"} <= media
    assert len(list(run.rglob("*.png"))) == 2  # after epoch 2 and at the end
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_wandb_that_is_not_installed_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)

    with (
        pytest.raises(UserError, match=r"^train.wandb_project is set and the package wandb is not installed; install it or"),
        watched(str(tmp_path / "logs"), tiny_network(), settings(wandb_project="voices"), {}),
    ):
        pytest.fail("training would have begun")

    assert not (tmp_path / "logs").exists()


def test_wandb_without_a_key_is_said_before_training(wandb, tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))

    with (
        pytest.raises(UserError, match=r"^train.wandb_project is set and wandb does not start: [^\n]*WANDB_MODE=offline[^\n]*$"),
        watched(str(tmp_path / "logs"), tiny_network(), settings(wandb_project="voices"), {}),
    ):
        pytest.fail("training would have begun")


# The picture of a model.


def test_the_picture_names_every_layer_with_its_shape_and_parameters(model_section):
    network = build_model(ModelConfig.model_validate(model_section), 8000, 8000, 3)

    texts = [text.get_text() for text in draw_model(network).axes[0].texts]

    assert f"conv3d: {network.count_params():,} parameters" in texts
    layers = [*network.layers, *network.get_layer("mel_decibels").layers, *network.get_layer("classifier").layers]
    assert {layer.name for layer in layers if not layer.name.startswith("tf.")} <= set(texts)
    assert "? \N{MULTIPLICATION SIGN} 32 \N{MULTIPLICATION SIGN} 1" in texts  # the mel spectrogram
    assert "579" in texts  # mean and deviation of 96 channels and a bias for each of 3 classes


# The terminal.


def test_without_a_terminal_every_epoch_has_a_line(capsys):
    train_tiny([EpochProgress()], epochs=3)

    lines = capsys.readouterr().err.splitlines()
    number = r"\d\.\d{3}"
    assert len(lines) == 3
    for epoch, line in enumerate(lines, start=1):
        assert re.fullmatch(
            rf"  training: epoch {epoch}/3: train loss {number} accuracy {number} learning rate 0.001, "
            rf"eval loss {number} accuracy {number}, 0:\d\d elapsed, 0:\d\d left",
            line,
        )
    assert lines[2].endswith(" 0:00 left")


def test_on_a_terminal_there_is_a_bar_and_it_goes_even_if_training_fails(tmp_path, monkeypatch):
    output = io.StringIO()
    terminal = Console(file=output, force_terminal=True, width=200)
    monkeypatch.setattr("beam_jobs.console.console", terminal)
    monkeypatch.setattr(callbacks, "console", terminal)

    class Failing(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise UserError("training diverged")

    with (
        pytest.raises(UserError),
        watched(str(tmp_path), tiny_network(), settings(), {}) as watchers,
    ):
        train_tiny([*watchers, Failing()], epochs=5)

    shown = output.getvalue()
    assert "2/5" in shown
    assert "eval loss" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")  # the cursor is back
