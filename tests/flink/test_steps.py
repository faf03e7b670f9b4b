# SPDX-License-Identifier: Apache-2.0
"""TFX's Beam steps on a real Flink cluster, from a dataset in a real S3 server: the same figures as on a laptop."""

import copy
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster import FlinkCluster
from s3_server import BUCKET, S3Server
from tfx.components.statistics_gen.executor import DEFAULT_FILE_NAME as STATISTICS_FILE
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import Artifact, standard_artifacts
from untrained import serve_untrained

from beam_jobs.config import ClipsConfig, NumClips
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.generate_clips import generate_clips
from beam_jobs.running import DEFAULT_BEAM_OPTIONS
from components.evaluator.predictions import read_predictions
from components.evaluator.results import read_metrics
from components.model_digest import MODEL_DIGEST, model_digest
from components.process_arguments import hidden_arguments
from components.serving_baseline.artifact import NO_MODEL_FILE
from pipeline.config import PipelineConfig
from pipeline.dag import RunContext, create_pipeline

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_FLINK") != "1", reason="needs Java 17, Maven, Go and some minutes: make test-flink"
)
SPLITS = ("train", "eval", "test")
Artifacts = dict[str, list[Artifact]]


@dataclass
class Steps:
    """The Beam steps of one dataset, in `folder`; what each makes is the next one's input."""

    nodes: dict[str, BaseComponent]
    folder: Path

    def run(self, node: str, inputs: Artifacts, beam_options: list[str]) -> Artifacts:
        """Runs a step's executor as a runner does, and returns its outputs."""
        component = self.nodes[node]
        outputs: Artifacts = {}
        for name, channel in component.outputs.items():
            artifact = channel.type()
            artifact.uri = str(self.folder / node / name)
            outputs[name] = [artifact]
        executor = type(component).EXECUTOR_SPEC.executor_class
        if "beam" in type(component).EXECUTOR_SPEC.__class__.__name__.lower():
            context = executor.Context(beam_pipeline_args=beam_options, tmp_dir=str(self.folder / "tmp"))
        else:
            context = executor.Context(tmp_dir=str(self.folder / "tmp"))
        with hidden_arguments():
            executor(context).Do(copy.deepcopy(inputs), outputs, dict(component.exec_properties))
        return outputs


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, speech: SpeakerIndex) -> Path:
    """128 clips of 2 s in 16 shards, half of them to test with."""
    clips = ClipsConfig(
        seed=3, duration_s=2.0, sample_rate_hz=8000, num_clips=NumClips(train=48, eval=16, test=64), clips_per_shard=8,
        max_utterances=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("dataset") / "clips"
    generate_clips(clips, speech, str(folder))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """A network of random weights as the Trainer leaves it, and no model in serving."""
    folder = tmp_path_factory.mktemp("models")
    model, none = standard_artifacts.Model(), standard_artifacts.Model()
    model.uri, none.uri = str(folder / "model"), str(folder / "none")
    serve_untrained("conv3d", ["male", "female"]).save(str(folder / "model/Format-Serving"))
    model.set_string_custom_property(MODEL_DIGEST, model_digest(folder / "model/Format-Serving"))
    (folder / "none").mkdir()
    (folder / "none" / NO_MODEL_FILE).touch()
    return {"model": [model], "baseline_model": [none]}


@pytest.fixture(scope="module")
def steps_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Steps]:
    def make(dataset_uri: str) -> Steps:
        config = PipelineConfig.model_validate(
            {
                "clips": {"duration_s": 2, "sample_rate_hz": 8000, "num_clips": {"train": 48, "eval": 16, "test": 64}},
                "model": {"n_fft": 400, "hop_length": 150, "n_mels": 32, "mel_f_max_hz": 3800, "filters": [4, 8, 8, 8]},
                "train": {"crop_s": 1},
            }
        )
        folder = tmp_path_factory.mktemp("steps")
        at = RunContext(dataset_uri, "", str(folder), str(folder / "serving"), "")
        return Steps({node.id: node for node in create_pipeline(config, at).components}, folder)

    return make


@dataclass
class Made:
    """What the steps made."""

    example_gen: Artifacts
    statistics: Artifacts
    transform: Artifacts
    evaluation: Artifacts


def run_all(steps: Steps, models: Artifacts, options: list[str], transform_options: list[str]) -> Made:
    example_gen = steps.run("ClipExampleGen", {}, options)
    examples = {"examples": example_gen["examples"]}
    statistics = steps.run("StatisticsGen", examples, options)
    schema = steps.run("ImportSchemaGen", {}, options)
    transform = steps.run("Transform", {**examples, **schema}, transform_options)
    return Made(example_gen, statistics, transform, evaluated(steps, example_gen, models, options))


def evaluated(steps: Steps, example_gen: Artifacts, models: Artifacts, options: list[str]) -> Artifacts:
    return steps.run("Evaluator", {"clips": example_gen["clips"], **models}, options)


@pytest.fixture(scope="module")
def expected(dataset: Path, stored: str, models: Artifacts, steps_of: Callable[[str], Steps]) -> Made:
    """What DirectRunner makes of the local dataset, which was copied before: a note of its check lies beside it then."""
    return run_all(steps_of(str(dataset)), models, list(DEFAULT_BEAM_OPTIONS), list(DEFAULT_BEAM_OPTIONS))


@pytest.fixture(scope="module")
def stored(s3: S3Server, dataset: Path) -> str:
    """The dataset in the object store."""
    return s3.upload(dataset, "beam-steps/clips")


@pytest.fixture(scope="module")
def on_flink(
    s3: S3Server,
    cluster: FlinkCluster,
    stored: str,
    models: Artifacts,
    steps_of: Callable[[str], Steps],
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    """The same by Flink's workers, who see nothing of the steps' folders: only the store and, of Transform, a shared folder."""
    options = [*cluster.beam_options, *s3.beam_options]
    shared = tmp_path_factory.mktemp("shared")
    before = len(cluster.rest("/jobs/overview")["jobs"])

    made = run_all(
        steps_of(stored), models, [*options, f"--temp_location=s3://{BUCKET}/tmp"], [*options, f"--temp_location={shared}"]
    )

    jobs = cluster.rest("/jobs/overview")["jobs"]
    assert len(jobs) == before + 4, "one for each Beam step"
    assert {job["state"] for job in jobs} == {"FINISHED"}
    assert list(shared.iterdir()) == []
    assert "Contents" not in s3.client().list_objects_v2(Bucket=BUCKET, Prefix="tmp/")
    return made


def files(artifact: Artifact) -> dict[str, bytes]:
    root = Path(artifact.uri)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_check_publishes_the_same_metadata(expected: Made, on_flink: Made) -> None:
    (ours,), (theirs,) = (made.example_gen["examples"] for made in (on_flink, expected))
    assert len(files(theirs)) == 16
    assert files(ours) == files(theirs)


def test_statistics_are_equal(expected: Made, on_flink: Made) -> None:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    def read(made: Made, split: str) -> Any:
        path = Path(made.statistics["statistics"][0].uri) / f"Split-{split}" / STATISTICS_FILE
        return statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())

    for split in SPLITS:
        ours, theirs = read(on_flink, split), read(expected, split)
        assert theirs.datasets[0].num_examples == {"train": 48, "eval": 16, "test": 64}[split]
        assert rounded(ours) == rounded(theirs)


def rounded(message: Any) -> dict[str, Any]:
    """A protobuf message with its floats to nine digits: sums are not exactly the same in another order."""
    from google.protobuf import json_format

    def simplified(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: simplified(item) for key, item in sorted(value.items())}
        if isinstance(value, list):
            items = [simplified(item) for item in value]
            return sorted(items, key=repr) if items and isinstance(items[0], dict) else items
        return float(f"{value:.9g}") if isinstance(value, float) else value

    result: dict[str, Any] = simplified(json_format.MessageToDict(message))
    return result


def test_the_graph_makes_the_same_waveforms(expected: Made, on_flink: Made) -> None:
    same_waveforms(on_flink.transform, expected.transform)


def test_transform_stays_in_its_own_process_where_tensorflow_cannot_open_what_workers_share(
    s3: S3Server, cluster: FlinkCluster, expected: Made, steps_of: Callable[[str], Steps], capfd: pytest.CaptureFixture[str]
) -> None:
    steps = steps_of("")
    before = cluster.newest_job()["jid"]
    options = [*cluster.beam_options, *s3.beam_options, f"--temp_location=s3://{BUCKET}/tmp"]
    inputs = {"examples": expected.example_gen["examples"], **steps.run("ImportSchemaGen", {}, options)}

    made = steps.run("Transform", inputs, options)

    assert "TensorFlow cannot open s3://, which --temp_location names" in capfd.readouterr().err
    assert cluster.newest_job()["jid"] == before
    same_waveforms(made, expected.transform)


def same_waveforms(ours: Artifacts, theirs: Artifacts) -> None:
    import tensorflow as tf
    import tensorflow_transform as tft

    rng = np.random.default_rng(1)
    loud = rng.integers(-9000, 9000, (3, 16_000), dtype=np.int16)
    features = {
        "audio/pcm16": tf.constant([samples.tobytes() for samples in loud]),
        "clip/rms_dbfs": tf.constant([-20.0, -30.0, -25.0]),
        "clip/label": tf.constant([0, 1, 0], tf.int64),
    }
    found, wanted = (
        tft.TFTransformOutput(made["transform_graph"][0].uri).transform_raw_features(dict(features))["waveform"]
        for made in (ours, theirs)
    )
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def same_evaluation(ours: Artifacts, theirs: Artifacts) -> None:
    found, wanted = (read_predictions(made["evaluation"][0].uri) for made in (ours, theirs))
    assert found.ids == wanted.ids
    assert len(wanted.ids) == 64
    np.testing.assert_allclose(found.candidate, wanted.candidate, atol=1e-6)
    for name in ("labels", "num_speakers", "rms_dbfs", "speech_ratio"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    for name in ("speaker_ids", "utterance_ids", "modes", "candidate_classes"):
        assert getattr(found, name) == getattr(wanted, name)
    classes = ["male", "female"]
    metrics = read_metrics(theirs["evaluation"][0].uri, classes)
    assert metrics["all"]["clips", None] == 64
    assert read_metrics(ours["evaluation"][0].uri, classes) == {
        name: pytest.approx(figures, abs=1e-6) for name, figures in metrics.items()
    }


def test_the_evaluation_is_equal(expected: Made, on_flink: Made) -> None:
    same_evaluation(on_flink.evaluation, expected.evaluation)
    # Each worker wrote its own shard; none has the clips of all.
    folder = Path(on_flink.evaluation["evaluation"][0].uri) / "predictions"
    assert sum(path.stat().st_size > 0 for path in folder.glob("*.jsonl")) >= 2


def test_a_taskmanager_killed_in_the_middle_of_the_evaluation_changes_nothing(
    s3: S3Server, cluster: FlinkCluster, stored: str, expected: Made, models: Artifacts, steps_of: Callable[[str], Steps]
) -> None:
    options = [*cluster.beam_options, *s3.beam_options, f"--temp_location=s3://{BUCKET}/tmp"]
    steps = steps_of(stored)
    example_gen = expected.example_gen | steps.run("ClipExampleGen", {}, options)
    before = cluster.newest_job()["jid"]
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(evaluated, steps, example_gen, models, options)
        while not job.done() and clips_read(cluster, before) == 0:
            time.sleep(0.05)
        cluster.kill_taskmanager(1)
        assert not job.done()
        made = job.result()
    cluster.start_taskmanager(1)

    assert cluster.newest_job()["state"] == "FINISHED"
    assert cluster.num_restarts(cluster.newest_job()["jid"]) >= 1
    same_evaluation(made, expected.evaluation)
    assert "Contents" not in s3.client().list_objects_v2(Bucket=BUCKET, Prefix="tmp/")
    shutil.rmtree(steps.folder)


def clips_read(cluster: FlinkCluster, before: str) -> int:
    """How many records the tasks of a job after `before` have handed on; none while there is no such job."""
    job = cluster.newest_job()
    if job["jid"] == before or job["state"] != "RUNNING":
        return 0
    vertices = cluster.rest(f"/jobs/{job['jid']}")["vertices"]
    return max((int(vertex["metrics"]["write-records"]) for vertex in vertices if vertex["status"] == "RUNNING"), default=0)
