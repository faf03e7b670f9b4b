# SPDX-License-Identifier: Apache-2.0
"""Time and memory of every step at 1,000, 10,000 and 100,000 clips: what grows faster than the clips, and what memory by them.

    python -m benchmarks.scale --corpus ROOT --work DIR 1000 10000 100000            the whole DAG on this machine
    python -m benchmarks.scale --corpus ROOT --work DIR --kind flink 1000 10000      its Beam steps on a Flink cluster here
    python -m benchmarks.scale --corpus ROOT --work DIR --kind metadata 100000       plan, metadata, statistics, Transform
    python -m benchmarks.scale --corpus ROOT --work DIR --kind evaluation 1000       so many test clips, here and on Flink

Clips are short (1 s at 8 kHz) and the network next to nothing, so that what is measured is what each clip costs beside its audio
and the training. Each size runs in a process of its own; its figures lie in `DIR/<kind>-<clips>.json`, step by step as they come.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beam_jobs.console import noise_to
from benchmarks.step_costs import Steps

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

ROOT = Path(__file__).parents[1]
SETTINGS = """\
clips:
  duration_s: 1
  sample_rate_hz: 8000
  num_clips: {{train: {train}, eval: {tenth}, test: {tenth}}}
  clips_per_shard: 250
  max_utterances: 2
  pause_s: {{min: 0, max: 0}}
data: {{min_class_share: 0.1}}
model: {{n_fft: 512, hop_length: 128, n_mels: 16, mel_f_max_hz: 3000, frame_length: 16, filters: [2, 2, 2, 2]}}
train: {{epochs: 1, batch_size: 64, crop_s: 0.5}}
gate:
  overall: {{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}}
  slices: {{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}}
"""


def pipeline_of(clips: int, corpus: str, folder: Path, beam_options: Sequence[str] = ()) -> tuple[Any, Any]:
    """The pipeline, its clips first, and its configuration."""
    from pipeline.config import load_config
    from pipeline.dag import RunContext, create_pipeline
    from pipeline.workdir import WorkDir

    tenth = clips // 10
    file = folder / "config.yaml"
    file.write_text(SETTINGS.format(train=clips - 2 * tenth, tenth=tenth))
    options = [f"beam.{key}={json.dumps(list(beam_options))}" for key in ("clips", "pipeline")] if beam_options else []
    config, workdir = load_config(file, options), WorkDir.at(folder)
    at = RunContext(
        dataset_uri=str(workdir.root / "clips"),
        dataset_fingerprint="",
        pipeline_root=str(workdir.tfx),
        serving_uri=str(workdir.serving),
        baseline_version="",
        corpus_uri=corpus,
        keep_pending=True,
    )
    return create_pipeline(config, at, workdir.connection()), config


def run_dag(clips: int, corpus: str, folder: Path, steps: Steps, beam_options: Sequence[str] = ()) -> None:
    """The whole pipeline."""
    from pipeline.local_runner import run_pipeline

    pipeline, _ = pipeline_of(clips, corpus, folder, beam_options)
    run_pipeline(pipeline, "1", before=steps.begin, after=lambda node, *_: steps.end(node))


def run_metadata(clips: int, corpus: str, folder: Path, steps: Steps) -> None:
    """What is done with clips without their audio: every clip is planned, and its metadata written as ClipExampleGen does."""
    from tfx.types import artifact_utils, standard_artifacts

    from beam_jobs.corpus.librispeech import read_librispeech
    from beam_jobs.make_shard import split_for

    pipeline, config = pipeline_of(clips, corpus, folder)
    nodes = {node.id: node for node in pipeline.components}
    (examples,), (schema,), (statistics,), (graph,) = (
        [kind()]
        for kind in (
            standard_artifacts.Examples,
            standard_artifacts.Schema,
            standard_artifacts.ExampleStatistics,
            standard_artifacts.TransformGraph,
        )
    )
    for artifact in (examples, schema, statistics, graph):
        artifact.uri = str(folder / artifact.TYPE_NAME)
    examples.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    index = read_librispeech(corpus)
    with steps.step("plan and metadata"):
        for split, speakers in split_for(index, config.clips).items():
            write_metadata(config.clips, split, speakers, Path(examples.uri) / f"Split-{split}")

    def execute(node: str, inputs: dict[str, Any], outputs: dict[str, Any], **context: Any) -> None:
        executor = type(nodes[node]).EXECUTOR_SPEC.executor_class
        with steps.step(node):
            executor(executor.Context(tmp_dir=str(folder / "tmp"), **context)).Do(
                inputs, outputs, dict(nodes[node].exec_properties)
            )

    beam = {"beam_pipeline_args": list(config.beam.pipeline)}
    execute("ImportSchemaGen", {}, {"schema": [schema]})
    execute("StatisticsGen", {"examples": [examples]}, {"statistics": [statistics]}, **beam)
    execute("Transform", {"examples": [examples], "schema": [schema]}, {"transform_graph": [graph]}, **beam)


def write_metadata(clips: Any, split: str, speakers: Any, folder: Path) -> None:
    """Plans a split's clips and writes their metadata, shard by shard; levels, which only audio has, are drawn."""
    import numpy as np

    from beam_jobs.examples import Clip, encode_index_entry, frame_record
    from beam_jobs.planning import ClipPlanner

    planner, rng, nothing = ClipPlanner(clips, split, speakers), np.random.default_rng(0), np.zeros(0, "<i2")
    total, per_shard = getattr(clips.num_clips, split), clips.clips_per_shard
    num_shards = -(-total // per_shard)
    folder.mkdir(parents=True)
    for shard in range(num_shards):
        with (folder / f"clips-{shard:05d}-of-{num_shards:05d}.tfrecord").open("wb") as file:
            for k in range(shard * per_shard, min(total, (shard + 1) * per_shard)):
                plan = planner.plan(k)
                placed = plan.placements
                clip = Clip(
                    id=plan.id,
                    label=plan.label,
                    mode=plan.mode,
                    speaker_ids=tuple(placement.speaker_id for placement in placed),
                    utterance_ids=tuple(placement.utterance.id for placement in placed),
                    rms_dbfs=float(rng.uniform(-35, -15)),
                    speech_ratio=plan.coverage,
                    sample_rate_hz=clips.sample_rate_hz,
                    pcm16=nothing,
                )
                for part in frame_record(encode_index_entry(clip, 0, 0)):
                    file.write(part)


def run_evaluation(clips: int, corpus: str, folder: Path, steps: Steps) -> None:
    """The Evaluator on so many test clips of 2 s, with a network of random weights: in this process, then by Flink's workers."""
    from beam_jobs.clip_store import ClipsReference
    from beam_jobs.config import ClipsConfig, NumClips
    from beam_jobs.corpus.librispeech import read_librispeech
    from beam_jobs.dataset import fingerprint
    from beam_jobs.generate_clips import generate_clips
    from beam_jobs.running import make_pipeline
    from components.evaluator.executor import evaluate

    with cluster(folder) as options:
        from untrained import NUM_SAMPLES, RATE_HZ, serve_untrained

        counts = NumClips(train=250, eval=250, test=clips)
        settings = ClipsConfig(
            duration_s=NUM_SAMPLES / RATE_HZ, sample_rate_hz=RATE_HZ, num_clips=counts, clips_per_shard=250, max_utterances=2
        )
        dataset, model = str(folder / "clips"), str(folder / "model")
        with steps.step("ClipGenerator"):
            info = generate_clips(settings, read_librispeech(corpus), dataset)
        serve_untrained("conv3d", info.classes).save(model)
        reference = ClipsReference(dataset_uri=dataset, fingerprint=fingerprint(dataset), shards=info.shards)
        with steps.step("Evaluator, in this process"):
            evaluate(reference, model, None, info.classes, str(folder / "here"), make_pipeline([]))
        with steps.step("Evaluator, on Flink"):
            evaluate(reference, model, None, info.classes, str(folder / "there"), make_pipeline(options))


@contextmanager
def cluster(folder: Path) -> Iterator[list[str]]:
    """Beam's options for a Flink cluster of this machine, the tests' own."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/flink")]
    from cluster import FlinkCluster

    with FlinkCluster(folder / "flink") as started:
        yield [*started.beam_options, f"--temp_location={folder}/shared"]


def one(kind: str, clips: int, corpus: str, work: Path) -> None:
    """One size, in this process."""
    folder = work / f"{kind}-{clips}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = Steps(work / f"{kind}-{clips}.json", clips, kind in ("flink", "evaluation"))
    with noise_to(folder / "log"):
        if kind == "flink":
            with cluster(folder) as options:
                run_dag(clips, corpus, folder, steps, options)
        else:
            {"laptop": run_dag, "metadata": run_metadata, "evaluation": run_evaluation}[kind](clips, corpus, folder, steps)
    shutil.rmtree(folder)


def main() -> None:
    """Runs each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=int, nargs="+")
    parser.add_argument("--kind", choices=("laptop", "flink", "metadata", "evaluation"), default="laptop")
    parser.add_argument("--corpus", required=True, help="folder of the recordings, in LibriSpeech's layout")
    parser.add_argument("--work", type=Path, required=True, help="folder for the figures; the rest is removed")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    work = given.work.absolute()
    if given.one:
        one(given.kind, given.clips[0], given.corpus, work)
        return
    settings = [f"--kind={given.kind}", f"--work={work}", f"--corpus={given.corpus}", "--one"]
    for clips in given.clips:
        subprocess.run([sys.executable, "-m", "benchmarks.scale", *settings, str(clips)], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
