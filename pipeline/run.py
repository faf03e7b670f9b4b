"""One run on this machine: corpus → clips → TFX pipeline → result."""

import datetime
import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

from rich.markup import escape

from beam_jobs.console import console, noise_to, progress, say
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import read_corpus_with_bar
from beam_jobs.corpus.synthetic import synthesise_corpus
from beam_jobs.dataset import INFO_FILE, fingerprint
from beam_jobs.errors import UserError
from beam_jobs.files import write_whole
from beam_jobs.filesystems import set_filesystem_options
from beam_jobs.generate_clips import generate_clips
from beam_jobs.paths import is_uri
from beam_jobs.surroundings import temporary_files
from components.pusher.provenance import code_revision
from components.pusher.serving_folder import versions
from components.tuner.search_space import read_best
from pipeline.config import PipelineConfig
from pipeline.estimate import check_space
from pipeline.result import (
    CONFIG_FILE,
    REPORT_FILE,
    NodeTime,
    RunResult,
    folders,
    metrics_by_slice,
    read_config,
    read_results,
    run_of_version,
    write_result,
)
from pipeline.workdir import WorkDir


def run(config: PipelineConfig, corpus: str | None, root: Path, resume: bool = False) -> RunResult:
    """Runs everything and stores the result under `root`.

    Args:
        config: the validated configuration.
        corpus: corpus root; None for the synthetic one of the configuration.
        root: the work folder.
        resume: go on with a training that was killed, if there is one of these clips with this configuration.

    Raises:
        UserError: whatever a user can cause and mend, on the way.
    """
    workdir = WorkDir(root.absolute())
    with workdir.locked():
        run_id = _new_run_id(workdir)
        report = workdir.reports / run_id
        report.mkdir(parents=True)
        (report / CONFIG_FILE).write_text(config.to_yaml())
        log = workdir.logs / f"{run_id}.log"
        say(f"run {run_id} in {workdir.root} (library output: {log})")
        with noise_to(log), temporary_files():
            started = time.monotonic()
            index = _corpus(config, corpus, workdir)
            dataset = _dataset(config, index, workdir)
            result = _pipeline(config, index, dataset, workdir, run_id, started, resume)
        write_result(workdir, result)
        return result


def _new_run_id(workdir: WorkDir) -> str:
    run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    while (workdir.reports / run_id).exists():  # two runs within a second
        time.sleep(0.1)
        run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return run_id


def _corpus(config: PipelineConfig, corpus: str | None, workdir: WorkDir) -> SpeakerIndex:
    started = time.monotonic()
    synth = config.corpus.synth
    if corpus is None and synth is None:
        raise UserError("no corpus: give --corpus ROOT, the folder that holds SPEAKERS.TXT")
    if corpus is None:
        root = str(workdir.corpus / f"synth-{hashed(config.corpus.model_dump_json())}")
    else:
        root = corpus if is_uri(corpus) else str(Path(corpus).absolute())
    if corpus is None and synth is not None and not Path(root).exists():
        with progress("speaking the demo corpus", synth.num_speakers * synth.utterances_per_speaker, "utterances") as advance:
            workdir.corpus.mkdir(parents=True, exist_ok=True)
            synthesise_corpus(
                Path(root), synth.num_speakers, synth.utterances_per_speaker, synth.seed, lambda done, total: advance()
            )
    set_filesystem_options(config.beam.clips)
    index = read_corpus_with_bar(root, config.corpus.subsets, workdir.root / "index_cache")
    write_whole(str(workdir.index), index.to_json().encode())
    minutes = sum(speaker.duration_s for speaker in index.speakers) / 60
    _line("Corpus", time.monotonic() - started, f"{len(index.speakers)} speakers, {minutes:.0f} min of speech in {root}")
    return index


def _dataset(config: PipelineConfig, index: SpeakerIndex, workdir: WorkDir) -> str:
    started = time.monotonic()
    identity = hashed(config.clips.model_dump_json() + index.root + index.fingerprint())
    dataset = workdir.clips / identity
    made = not (dataset / INFO_FILE).exists()
    if made:
        check_space(config, dataset)
        generate_clips(config.clips, index, str(dataset), config.beam.clips)
    counts = config.clips.num_clips
    total = counts.train + counts.eval + counts.test
    what = f"{total} clips of {config.clips.duration_s:g} s in {dataset}"
    _line("Clips", time.monotonic() - started, what if made else f"{what} (made before)")
    return str(dataset)


def _pipeline(
    config: PipelineConfig,
    index: SpeakerIndex,
    dataset: str,
    workdir: WorkDir,
    run_id: str,
    started: float,
    resume: bool,
) -> RunResult:
    with progress("loading TensorFlow and TFX", 1):
        # 10 s and more, so not before the configuration and the corpus have been found good.
        from components.gate.result import read_result
        from components.review_report.artifact import Report
        from components.serving_baseline.executor import newest_version
        from components.trainer.checkpoints import finished_epochs
        from pipeline.dag import Locations, checkpoint_folder, create_pipeline, training_code
        from pipeline.lineage import artifact_of_run
        from pipeline.local_runner import run_pipeline

    dataset_fingerprint = fingerprint(dataset)
    inputs_digest = hashed(config.digest() + dataset_fingerprint + training_code())
    baseline_version = _baseline_version(workdir, newest_version(str(workdir.serving)), inputs_digest)
    locations = Locations(
        dataset_uri=dataset,
        dataset_fingerprint=dataset_fingerprint,
        pipeline_root=str(workdir.tfx),
        serving_uri=str(workdir.serving),
        baseline_version=baseline_version or "",
        baseline_config=_config_of(workdir, baseline_version),
        lost_versions=_lost_versions(workdir, inputs_digest),
    )
    checkpoints = checkpoint_folder(config, locations)
    if not resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
    elif not finished_epochs(checkpoints):
        say("nothing to resume: no epoch was finished by a training of these clips with this configuration and code")
    nodes: list[NodeTime] = []

    def after(node: str, seconds: float, cached: bool) -> None:
        nodes.append(NodeTime(node=node, seconds=round(seconds, 2), cached=cached))
        _line(node, seconds, "cached" if cached else "")

    run_pipeline(create_pipeline(config, locations, workdir.connection()), run_id, after)
    gate = read_result(artifact_of_run(workdir, run_id, "ModelBlessing").uri)
    shutil.copyfile(artifact_of_run(workdir, run_id, Report.TYPE_NAME).uri, workdir.reports / run_id / REPORT_FILE)
    pushed = artifact_of_run(workdir, run_id, "PushedModel")
    tuned = read_best(artifact_of_run(workdir, run_id, "HyperParameters").uri) if config.tune is not None else None
    version = pushed.custom_properties["pushed_version"].string_value or None
    waiting = bool(pushed.custom_properties["waiting"].int_value)
    if gate.blessed != bool(version or waiting):
        raise RuntimeError(f"the gate ({'blessed' if gate.blessed else gate.reasons}) and the push ({version}) disagree")
    reason = "; ".join(gate.reasons) or _why_pushed(config, version, baseline_version)
    if waiting:
        reason = f"waits for approval ({pushed.custom_properties['waiting_for'].string_value}); {reason}"
    return RunResult(
        run_id=run_id,
        verdict="pushed" if version else "waiting" if waiting else "refused",
        reason=reason,
        metrics=metrics_by_slice(gate),
        classes=gate.classes,
        tuned=tuned,
        serving_version=version or workdir.serving_version(),
        baseline_version=gate.baseline_version,
        inputs_digest=inputs_digest,
        folders=folders(workdir, run_id, index.root, dataset),
        nodes=nodes,
        seconds=round(time.monotonic() - started, 1),
        dataset_fingerprint=dataset_fingerprint,
        code_revision=code_revision(),
    )


def _baseline_version(workdir: WorkDir, version: str | None, inputs_digest: str) -> str | None:
    """The version to compare with: `version`, which is in serving.

    Where that version came out of the very same inputs, it is the candidate itself; then the run is a repetition, and is
    compared with what its first time was compared with, so that it comes from the cache and pushes nothing anew.
    """
    for result in reversed(read_results(workdir)):
        # After a person's decision a repetition is a new question, so it is compared with what they put into serving.
        if version and result.serving_version == version and result.verdict == "pushed" and result.decision is None:
            return result.baseline_version if result.inputs_digest == inputs_digest else version
    return version


def _config_of(workdir: WorkDir, version: str | None) -> dict[str, Any] | None:
    made_by = run_of_version(read_results(workdir), version)
    return read_config(workdir, made_by.run_id) if made_by else None


def _lost_versions(workdir: WorkDir, inputs_digest: str) -> str:
    """The versions that runs of the same inputs pushed and that are no longer there, so that the model is pushed anew."""
    there = {str(version) for version in versions(workdir.serving)}
    pushed = {
        result.serving_version
        for result in read_results(workdir)
        if result.inputs_digest == inputs_digest and result.verdict == "pushed"
    }
    return ",".join(sorted(version for version in pushed if version and version not in there))


def _why_pushed(config: PipelineConfig, version: str | None, baseline: str | None) -> str:
    overall, slices = config.gate.overall, config.gate.slices
    compared = f"no worse than version {baseline}" if baseline else "no model was in serving before"
    model = f"version {version}" if version else "the candidate"
    held = [
        f"{name} at least {bound:g}{where}"
        for name, bound, where in (
            ("accuracy", overall.min_accuracy, ""),
            ("accuracy", slices.min_accuracy, " on every slice"),
            ("AUC", overall.min_auc, ""),
        )
        if bound is not None
    ]
    return f"{model}: {', '.join(held) or 'no least accuracy is asked for'}; {compared}"


def _line(name: str, seconds: float, note: str) -> None:
    console.print(f"[bold]{name:<22}[/] {seconds:6.1f} s  {escape(note)}".rstrip())


def hashed(text: str) -> str:
    """Twelve hexadecimal digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
