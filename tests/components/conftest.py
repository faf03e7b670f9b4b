"""Real small artifacts, made once a session: shards of clips, an analysed preprocessing graph, a trained model."""

import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import pytest
from cluster_server import ClusterServer, step_pod

from beam_jobs.examples import Clip, encode_clip, frame_record

SAMPLE_RATE_HZ = 8000
NUM_SAMPLES = 12000
CLASSES = ["male", "female"]


def voice(label: int, seed: int, num_samples: int = NUM_SAMPLES, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Harmonics of a male (0) or female (1) pitch in noise, then a quarter of silence: float32 [num_samples]."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / sample_rate_hz
    pitch_hz = (110, 210)[label] * rng.uniform(0.9, 1.1)
    tone = sum(np.sin(2 * np.pi * pitch_hz * harmonic * time) / harmonic for harmonic in range(1, 12))
    samples = rng.uniform(0.02, 0.2) * (tone + 0.05 * rng.standard_normal(num_samples))
    samples[num_samples * 3 // 4 :] = 0
    return samples.astype(np.float32)


def make_clip(label: int, seed: int) -> Clip:
    pcm16 = np.rint(voice(label, seed) * 32768).astype("<i2")
    rms_dbfs = 20 * np.log10(np.sqrt(np.mean((pcm16 / 32768.0) ** 2)))
    return Clip(f"train-{seed}", label, "sequential", (f"{seed}",), (f"{seed}-1-0000",), rms_dbfs, 0.75, SAMPLE_RATE_HZ, pcm16)


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    return [make_clip(seed % 2, seed) for seed in range(48)]


@pytest.fixture(scope="session")
def shards(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train` and `eval`, two shards each."""
    root = tmp_path_factory.mktemp("shards")
    for split, part in (("train", clips[:32]), ("eval", clips[32:])):
        (root / split).mkdir()
        for shard in range(2):
            framed = [b"".join(frame_record(encode_clip(clip))) for clip in part[shard::2]]
            (root / split / f"clips-{shard:05d}-of-00002.tfrecord").write_bytes(b"".join(framed))
    return root


@pytest.fixture(scope="session")
def transform_graph(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`preprocessing_fn`, analysed over the training clips by tft_beam as TFX's Transform does."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from components.trainer.data import LABELLED_FEATURES
    from components.transform.preprocessing import preprocessing_fn

    folder = tmp_path_factory.mktemp("transform")
    schema = schema_utils.schema_from_feature_spec(LABELLED_FEATURES)
    rows = [
        {name: value.numpy() for name, value in tf.io.parse_single_example(encode_clip(clip), LABELLED_FEATURES).items()}
        for clip in clips[:32]
    ]
    options = beam.options.pipeline_options.PipelineOptions(["--direct_running_mode=in_memory"])
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        data = (pipeline | beam.Create(rows), dataset_metadata.DatasetMetadata(schema))
        analysed = data | tft_beam.AnalyzeDataset(
            lambda inputs: preprocessing_fn(inputs, {"num_samples": NUM_SAMPLES, "pipeline": "ignored"})
        )
        analysed | tft_beam.WriteTransformFn(str(folder / "graph"))
    return folder / "graph"


@pytest.fixture(scope="session")
def model_section() -> dict:
    return {
        "n_fft": 512,
        "hop_length": 128,
        "n_mels": 32,
        "mel_f_max_hz": 2000.0,
        "frame_length": 16,
        "filters": [4, 8, 8, 8],
    }


@pytest.fixture(scope="session")
def make_fn_args(shards: Path, transform_graph: Path, model_section: dict):
    """A function that makes what TFX hands to `run_fn`, with sections of the configuration replaced."""

    def make(folder: Path, **sections) -> SimpleNamespace:
        config = {
            "model": model_section,
            "train": {"epochs": 6, "batch_size": 8, "crop_s": 1.0, "learning_rate": 1e-2},
            "clips": {"num_samples": NUM_SAMPLES, "sample_rate_hz": SAMPLE_RATE_HZ},
            "classes": CLASSES,
            "seed": 7,
        }
        return SimpleNamespace(
            custom_config=config | sections,
            hyperparameters=None,
            train_files=[str(shards / "train" / "*")],
            eval_files=[str(shards / "eval" / "*")],
            transform_graph_path=str(transform_graph),
            serving_model_dir=str(folder / "serving"),
            model_run_dir=str(folder / "logs"),
        )

    return make


@pytest.fixture(scope="session")
def trained(make_fn_args, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What `run_fn` left behind: its fn_args, whose folders are filled."""
    from components.trainer.run_fn import run_fn

    fn_args = make_fn_args(tmp_path_factory.mktemp("trained"))
    run_fn(fn_args)
    return fn_args


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
        utterances = tuple(f"{speaker}-1-0000" for speaker in speakers)
        clip = dataclasses.replace(
            clip, id=f"test-{number:02d}", mode=mode, speaker_ids=speakers, utterance_ids=utterances, speech_ratio=ratio
        )
        found.append(clip)
    return found


@pytest.fixture(scope="session")
def test_shard(test_clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("test split") / "clips-00000-of-00001.tfrecord"
    path.write_bytes(b"".join(part for clip in test_clips for part in frame_record(encode_clip(clip))))
    return path


@pytest.fixture(scope="session")
def saved_models(trained: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of SavedModels by name: the trained network, a noisy one, and exports that know the label, each with its fault."""
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

    folder = tmp_path_factory.mktemp("saved models")
    (folder / "nothing").mkdir()
    kinds = ("noisy", "right", "mistaken", "nan", "constant", "swapped", "logits", "reordered", "no classes")
    for kind in (*kinds, "three classes", "no probabilities", "no signature"):
        module = Export(kind, CLASSES[::-1] if kind == "reordered" else CLASSES)
        signatures = {
            "other" if kind == "no signature" else "serving_default": module.serve.get_concrete_function(),
            **({} if kind == "no signature" else {"waveform": module.serve_waveform.get_concrete_function()}),
        }
        tf.saved_model.save(module, str(folder / kind), signatures=signatures)
    return {path.name: str(path) for path in folder.iterdir()} | {"trained": trained.serving_model_dir}


@pytest.fixture(scope="session")
def evaluate_files(saved_models: dict[str, str], tmp_path_factory: pytest.TempPathFactory):
    """A function that evaluates a model of `saved_models`, beside another or none, and returns the evaluation's folder."""
    import apache_beam as beam

    from components.evaluator.executor import evaluate

    def run(pattern: str, candidate: str, baseline: str | None) -> str:
        folder = str(tmp_path_factory.mktemp("evaluation"))
        options = beam.options.pipeline_options.PipelineOptions(["--direct_running_mode=in_memory"])
        other = saved_models[baseline] if baseline else None
        evaluate([pattern], saved_models[candidate], other, CLASSES, folder, beam.Pipeline(options=options))
        return folder

    return run


@pytest.fixture(scope="session")
def evaluation(evaluate_files, test_shard: Path):
    """The same on the test clips; every pair of models is evaluated once."""
    return functools.cache(lambda candidate, baseline: evaluate_files(str(test_shard), candidate, baseline))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClusterServer]:
    """An API server with a Pod of a step, whose shared folder is `tmp_path/training`."""
    server = ClusterServer(step_pod(tmp_path / "training"))
    yield server
    server.close()
