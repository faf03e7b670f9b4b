# SPDX-License-Identifier: Apache-2.0
"""Real small artifacts, made once a session: shards of clips, an analysed preprocessing graph, a trained model."""

import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import pytest
from clip_datasets import reference_to, write_dataset
from cluster_server import ClusterServer, step_pod
from session_work import made_once
from training_inputs import CLASSES, make_clip, voice

from beam_jobs.clip_store import ClipsReference
from beam_jobs.examples import Clip


@pytest.fixture(scope="session")
def make_voice():
    return voice


@pytest.fixture(scope="session")
def test_clips() -> list[Clip]:
    """Clips of 12 speakers, of both labels in each mode, one to three speakers, quiet and loud, with much and little speech."""
    found = []
    for number in range(40):
        clip = make_clip(number % 2, 1000 + number)
        speakers = tuple(f"{number % 2}{(number // 2 + k) % 6}" for k in range(1 + number // 2 % 3))
        mode = ("sequential", "simultaneous")[number // 4 % 2]
        ratio = (0.35, 0.55, 0.75, 1.0)[number % 4]
        heard_of_users = "feedback:" if number % 8 < 2 else ""
        utterances = tuple(f"{heard_of_users}{speaker}-1-0000" for speaker in speakers)
        clip = dataclasses.replace(
            clip, id=f"test-{number:02d}", mode=mode, speaker_ids=speakers, utterance_ids=utterances, speech_ratio=ratio
        )
        found.append(clip)
    return found


@pytest.fixture(scope="session")
def test_dataset(test_clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> ClipsReference:
    """A dataset with the test split alone."""
    return reference_to(write_dataset(tmp_path_factory.mktemp("test split"), {"test": [test_clips[:40], test_clips[40:]]}))


@pytest.fixture(scope="session")
def saved_models(trained: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of SavedModels by name: the trained network, the same with other decision thresholds, a noisy one, and exports that
    know the label, each with its fault."""
    return made_once(tmp_path_factory, "saved models", lambda folder: save_models(trained, folder))


def save_models(trained: SimpleNamespace, folder: Path) -> dict[str, str]:
    import tensorflow as tf

    network = tf.saved_model.load(trained.serving_model_dir)

    class Export(tf.Module):
        def __init__(self, kind: str, classes: list[str]) -> None:
            super().__init__()
            self.kind, self.classes = kind, classes
            if kind == "noisy":
                self.network = network

        def answer(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
            if self.kind == "no classes":
                return {"probabilities": probabilities}
            names = tf.repeat(tf.constant([self.classes]), tf.shape(probabilities)[0], axis=0)
            return {"scores" if self.kind == "no probabilities" else "probabilities": probabilities, "classes": names}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            spec = {"clip/label": tf.io.FixedLenFeature([], tf.int64), "clip/rms_dbfs": tf.io.FixedLenFeature([], tf.float32)}
            clips = tf.io.parse_example(examples, spec)
            # A number between 0 and 1 that the loudness decides and the label does not.
            noise = tf.math.floormod(clips["clip/rms_dbfs"] * 97.0, 1.0)
            if self.kind == "noisy":
                given = self.network.signatures["serving_default"](examples)["probabilities"]
                return self.answer(0.5 * given + 0.5 * tf.stack([noise, 1 - noise], axis=1))
            female = tf.where(clips["clip/label"] == 1, 0.7 + 0.2 * noise, 0.3 - 0.2 * noise)
            if self.kind == "mistaken":
                female = tf.where(clips["clip/rms_dbfs"] < -23.0, 1 - female, female)
            if self.kind == "nan":
                female = tf.where(noise < 0.1, float("nan"), female)
            if self.kind == "constant":
                female = 0.0 * female + 0.6
            if self.kind == "swapped":
                female = 1 - female
            if self.kind == "logits":
                female = 10 * female
            if self.kind == "three classes":
                return self.answer(tf.stack([0.5 - female / 2, 0.5 - female / 2, female], axis=1))
            scores = [1 - female, female]
            return self.answer(tf.stack(scores[::-1] if self.kind == "reordered" else scores, axis=1))

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="waveform")])
        def serve_waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.answer(tf.fill([tf.shape(waveform)[0], 3 if self.kind == "three classes" else 2], 0.5))

    (folder / "nothing").mkdir()
    kinds = ("noisy", "right", "mistaken", "nan", "constant", "swapped", "logits", "reordered", "no classes")
    for kind in (*kinds, "three classes", "no probabilities", "no signature"):
        module = Export(kind, CLASSES[::-1] if kind == "reordered" else CLASSES)
        signatures = {
            "other" if kind == "no signature" else "serving_default": module.serve.get_concrete_function(),
            **({} if kind == "no signature" else {"waveform": module.serve_waveform.get_concrete_function()}),
        }
        tf.saved_model.save(module, str(folder / kind), signatures=signatures)
    network.thresholds.assign([0.002, 0.998])
    tf.saved_model.save(network, str(folder / "reluctant"), signatures=dict(network.signatures))
    return {path.name: str(path) for path in folder.iterdir()} | {"trained": trained.serving_model_dir}


@pytest.fixture(scope="session")
def evaluate_clips(saved_models: dict[str, str], tmp_path_factory: pytest.TempPathFactory):
    """A function that evaluates a model of `saved_models`, beside another or none, and returns the evaluation's folder."""
    import apache_beam as beam

    from components.evaluator.executor import evaluate

    def run(clips: ClipsReference, candidate: str, baseline: str | None) -> str:
        folder = str(tmp_path_factory.mktemp("evaluation"))
        options = beam.options.pipeline_options.PipelineOptions(["--direct_running_mode=in_memory"])
        other = saved_models[baseline] if baseline else None
        evaluate(clips, saved_models[candidate], other, CLASSES, folder, beam.Pipeline(options=options))
        return folder

    return run


@pytest.fixture(scope="session")
def evaluation(evaluate_clips, test_dataset: ClipsReference):
    """The same on the test clips; every pair of models is evaluated once."""
    return functools.cache(lambda candidate, baseline: evaluate_clips(test_dataset, candidate, baseline))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClusterServer]:
    """An API server with a Pod of a step, whose shared folder is `tmp_path/training`."""
    server = ClusterServer(step_pod(tmp_path / "training"))
    yield server
    server.close()
