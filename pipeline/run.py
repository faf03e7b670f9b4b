# SPDX-License-Identifier: Apache-2.0
"""One run on this machine: corpus → clips → TFX pipeline → result."""

import datetime
import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from beam_jobs.console import console, noise_to, progress, say
from beam_jobs.corpus.contents import read_contents
from beam_jobs.corpus.digest import corpus_digest
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.left_out import left_out_lines
from beam_jobs.corpus.readers import read_corpus_with_bar
from beam_jobs.corpus.synthetic import synthesise_corpus
from beam_jobs.dataset import INFO_FILE, fingerprint
from beam_jobs.dataset_folders import dataset_name
from beam_jobs.errors import UserError
from beam_jobs.files import absolute, write_atomically
from beam_jobs.filesystems import set_filesystem_options
from beam_jobs.generate_clips import generate_clips
from components.alarm import Alarm
from components.pusher.provenance import code_revision
from components.pusher.serving_folder import versions, versions_by_run
from components.pusher.withdrawn import read_withdrawn
from components.signing import check_private_key
from pipeline.config import PipelineConfig
from pipeline.estimate import check_space
from pipeline.outcome import NodeTime, Outcome, now, recorded
from pipeline.result import CONFIG_FILE, RunResult, read_results, read_run_config, run_of_version
from pipeline.store import check_store
from pipeline.workdir import WorkDir


class NothingNewError(UserError):
    """A retraining would make the model that is in serving once more."""


def run(
    config: PipelineConfig,
    corpus: str | None,
    root: Path,
    resume: bool = False,
    name: str = "",
    tags: Sequence[str] = (),
    alarm: Alarm | None = None,
) -> RunResult:
    """Runs everything and stores the result under `root`.

    Args:
        config: the validated configuration.
        corpus: corpus root; None for the synthetic one of the configuration.
        root: the work folder.
        resume: go on with a training that was killed, if there is one of these clips with this configuration.
        name: what the run is called in the list of runs.
        tags: words to find it by there.
        alarm: what a retraining answers; None where a person starts the run.

    Raises:
        NothingNewError: of a retraining, whose data, configuration and code made the model in serving.
        UserError: whatever else a user can cause and fix, on the way.
    """
    if config.push.private_key:  # before hours of training
        check_private_key(Path(config.push.private_key))
    workdir = WorkDir.at(root)
    with workdir.locked():
        check_store(workdir)
        outcome = Outcome(run_id=_new_run_id(workdir), started=now(), name=name, tags=list(tags), alarm=alarm)
        outcome.code_revision = code_revision()
        report = workdir.reports / outcome.run_id
        try:
            report.mkdir(parents=True)
            (report / CONFIG_FILE).write_text(config.to_yaml())
        except OSError as error:
            raise UserError(
                f"{report}: cannot be written ({error.strerror}); free some space, or give another --workdir"
            ) from None
        log = workdir.logs / f"{outcome.run_id}.log"
        say(f"run {outcome.run_id} in {workdir.root} (library output: {log})")
        try:
            with recorded(workdir, outcome) as begin, noise_to(log):
                return _run(config, corpus, workdir, outcome, begin, resume)
        except BaseException:
            if version := versions_by_run(workdir.serving).get(outcome.run_id):
                say(f"version {version} of run {outcome.run_id} had been pushed by then: it is in serving")
            raise


def _run(
    config: PipelineConfig, corpus: str | None, workdir: WorkDir, outcome: Outcome, begin: Callable[[str], None], resume: bool
) -> RunResult:
    started = time.monotonic()
    begin("Corpus")
    index = _corpus(config, corpus, workdir)
    outcome.corpus, outcome.corpus_digest = workdir.relative(index.root), corpus_digest(index, read_contents(index))
    dataset = dataset_folder(config, outcome.corpus_digest, workdir)
    outcome.dataset = workdir.relative(dataset)
    begin("Clips")
    _make_dataset(config, index, dataset)
    _pipeline(config, workdir, outcome, begin, resume)
    outcome.seconds = round(time.monotonic() - started, 1)
    from pipeline.finish import keep_result, result_of

    result = result_of(workdir, config, outcome)
    keep_result(workdir, result)
    return result


def _new_run_id(workdir: WorkDir) -> str:
    run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    while (workdir.reports / run_id).exists():  # two runs within a second
        time.sleep(0.1)
        run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return run_id


def corpus_root(config: PipelineConfig, corpus: str | None, workdir: WorkDir) -> str:
    """Where a run's corpus is: an absolute path, or a URI as given.

    Args:
        config: names the synthetic corpus.
        corpus: as people give it; None for the synthetic one, which lies in the work folder and need not exist.
        workdir: the work folder.

    Raises:
        UserError: neither is given.

    """
    if corpus is not None:
        return absolute(corpus)
    if config.corpus.synth is None:
        raise UserError("no corpus: give --corpus ROOT, the folder of the recordings")
    return str(workdir.corpus / f"synth-{hashed(config.corpus.synth.model_dump_json())}")


def dataset_folder(config: PipelineConfig, corpus_digest: str, workdir: WorkDir) -> Path:
    """Where the clips of this configuration and corpus are, or will be."""
    return workdir.clips / dataset_name(config.clips, corpus_digest)


def _corpus(config: PipelineConfig, corpus: str | None, workdir: WorkDir) -> SpeakerIndex:
    started = time.monotonic()
    root, synth = corpus_root(config, corpus, workdir), config.corpus.synth
    if corpus is None and synth is not None and not Path(root).exists():
        with progress("speaking the demo corpus", synth.num_speakers * synth.utterances_per_speaker, "utterances") as advance:
            workdir.corpus.mkdir(parents=True, exist_ok=True)
            synthesise_corpus(
                Path(root), synth.num_speakers, synth.utterances_per_speaker, synth.seed, lambda done, total: advance()
            )
    set_filesystem_options(config.beam.clips)
    index = read_corpus_with_bar(root, config.corpus.subsets, workdir.root / "index_cache", config.corpus.labelling)
    index = index.with_labels(config.clips.labels)
    write_atomically(str(workdir.index), index.to_json().encode())
    minutes = sum(speaker.duration_s for speaker in index.speakers) / 60
    _line("Corpus", time.monotonic() - started, f"{len(index.speakers)} speakers, {minutes:.0f} min of speech in {root}")
    return index


def _make_dataset(config: PipelineConfig, index: SpeakerIndex, dataset: Path) -> None:
    started = time.monotonic()
    made = not (dataset / INFO_FILE).exists()
    if made:
        check_space(config, dataset)
        generate_clips(config.clips, index, str(dataset), config.beam.clips)  # which says what of the corpus is left out
    else:
        for line in left_out_lines(index):
            say(line)
    counts = config.clips.num_clips
    total = counts.train + counts.eval + counts.test
    what = f"{total} clips of {config.clips.duration_s:g} s in {dataset}"
    _line("Clips", time.monotonic() - started, what if made else f"{what} (made before)")


def _pipeline(config: PipelineConfig, workdir: WorkDir, outcome: Outcome, begin: Callable[[str], None], resume: bool) -> None:
    begin("loading TensorFlow and TFX")
    with progress(outcome.at, 1):
        # 10 s and more, so not before the configuration and the corpus have been found good.
        from components.serving_baseline.executor import newest_version
        from components.trainer.checkpoints import finished_epochs
        from pipeline.dag import RunContext, checkpoint_folder, create_pipeline, training_code
        from pipeline.finish import complete_results
        from pipeline.local_runner import run_pipeline

    complete_results(workdir)
    outcome.dataset_fingerprint = fingerprint(str(workdir.path(outcome.dataset)))
    outcome.inputs_digest = hashed(config.digest() + outcome.dataset_fingerprint + training_code())
    results = read_results(workdir)
    newest = newest_version(str(workdir.serving))
    outcome.baseline_version = _baseline_version(results, newest, outcome.inputs_digest)
    if outcome.alarm and newest and outcome.baseline_version != newest:
        raise NothingNewError(
            f"the recordings, the configuration and the code are those that made version {newest}, so training again would make "
            "the same model; add recordings like those in production (docs/corpora.md#feedback)"
        )
    context = RunContext(
        dataset_uri=outcome.dataset,
        dataset_fingerprint=outcome.dataset_fingerprint,
        pipeline_root=workdir.relative(workdir.tfx),
        serving_uri=workdir.relative(workdir.serving),
        baseline_version=outcome.baseline_version or "",
        baseline_config=_config_of(workdir, results, outcome.baseline_version),
        serving_changes=_serving_changes(workdir, results, outcome.inputs_digest),
        alarm=outcome.alarm.model_dump_json() if outcome.alarm else "",
    )
    checkpoints = str(workdir.path(checkpoint_folder(config, context)))
    if not resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
    elif not finished_epochs(checkpoints):
        say("nothing to resume: no training with these clips, this configuration and this code has finished an epoch")

    def after(node: str, seconds: float, cached: bool) -> None:
        outcome.nodes.append(NodeTime(node=node, seconds=round(seconds, 2), cached=cached))
        _line(node, seconds, "cached" if cached else "")

    with workdir.entered():
        run_pipeline(create_pipeline(config, context, workdir.connection()), outcome.run_id, begin, after)


def _baseline_version(results: Sequence[RunResult], version: str | None, inputs_digest: str) -> str | None:
    """The version to compare with: `version`, which is in serving.

    Where that version came out of the very same inputs, it is the candidate itself; then the run is a repetition, and is
    compared with what its first time was compared with, so that it comes from the cache and pushes nothing anew.
    """
    for result in reversed(results):
        # After a person's decision a repetition is a new question, so it is compared with what they put into serving.
        if version and result.serving_version == version and result.verdict == "pushed" and result.decision is None:
            return result.baseline_version if result.inputs_digest == inputs_digest else version
    return version


def _config_of(workdir: WorkDir, results: Sequence[RunResult], version: str | None) -> dict[str, Any] | None:
    made_by = run_of_version(results, version)
    return read_run_config(workdir, made_by.run_id) if made_by else None


def _serving_changes(workdir: WorkDir, results: Sequence[RunResult], inputs_digest: str) -> str:
    """The versions that runs of the same inputs brought and that are no longer there, and the models that were withdrawn."""
    there, withdrawn = {str(version) for version in versions(workdir.serving)}, read_withdrawn(workdir.serving)
    same = [result for result in results if result.inputs_digest == inputs_digest]
    pushed = {result.serving_version for result in same if result.verdict == "pushed"}
    pushed |= {result.trial_version for result in same if result.verdict == "superseded"}
    return ",".join(sorted({version for version in pushed if version and version not in there} | set(withdrawn)))


def _line(name: str, seconds: float, note: str) -> None:
    console.print(f"[bold]{name:<22}[/] {seconds:6.1f} s  {escape(note)}".rstrip())


def hashed(text: str) -> str:
    """Twelve hexadecimal digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
