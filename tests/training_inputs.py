# SPDX-License-Identifier: Apache-2.0
"""What a Trainer gets, as fixtures: small shards of clips and an analysed preprocessing graph."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clip_datasets import reference_to, write_dataset
from session_work import made_once

from beam_jobs.examples import Clip, encode_clip

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
    """A dataset folder with `train` and `eval`, two shards each."""
    parts = {"train": clips[:32], "eval": clips[32:]}
    folder = tmp_path_factory.mktemp("shards") / "clips"
    return write_dataset(folder, {split: [part[shard::2] for shard in range(2)] for split, part in parts.items()})


@pytest.fixture(scope="session")
def transform_graph(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`preprocessing_fn`, analysed over the training clips by tft_beam as TFX's Transform does."""
    return made_once(tmp_path_factory, "transform", lambda folder: analyse(clips, folder))


def analyse(clips: list[Clip], folder: Path) -> Path:
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from components.trainer.input.batches import LABELLED_FEATURES
    from components.transform.preprocessing import preprocessing_fn

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
    """A function that makes what TFX hands to `run_fn`, with parts of its TrainingSpec replaced."""

    def make(folder: Path, **sections) -> SimpleNamespace:
        train = sections.pop("train", {"epochs": 6, "batch_size": 8, "crop_s": 1.0, "learning_rate": 1e-2})
        config = {
            "model": model_section,
            "train": {"seed": 7, **train},
            "num_samples": NUM_SAMPLES,
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "classes": CLASSES,
            "clips": reference_to(sections.pop("dataset", shards)).model_dump(mode="json"),
        }
        return SimpleNamespace(
            custom_config=config | sections,
            hyperparameters=None,
            transform_graph_path=str(transform_graph),
            serving_model_dir=str(folder / "serving"),
            model_run_dir=str(folder / "logs"),
        )

    return make


@pytest.fixture(scope="session")
def trained(make_fn_args, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What `run_fn` left behind: its fn_args, whose folders are filled."""

    def make(folder: Path) -> SimpleNamespace:
        from components.trainer.run_fn import run_fn

        fn_args = make_fn_args(folder)
        run_fn(fn_args)
        return fn_args

    return made_once(tmp_path_factory, "trained", make)
