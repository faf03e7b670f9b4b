"""The Beam job that mixes clips: `python -m beam_jobs.generate_clips --config … --corpus … --output … [BEAM OPTIONS]`.

One element is one shard. Its worker makes the clips in order, writes them under a temporary name and renames the finished
file into place, so memory stays flat, nothing is shuffled, a restart goes by shard, and nobody ever sees part of one.
"""

import argparse
import hashlib
import io
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_jobs.command_line import command
from beam_jobs.config import SPLITS, ClipsConfig, load_section
from beam_jobs.console import progress, say
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.dataset import INFO_FILE, DatasetInfo, read_dataset_info
from beam_jobs.describe_dataset import check_rejected, describe_dataset
from beam_jobs.ending import USER_ERROR_STATUS, one_line_ending
from beam_jobs.errors import UserError, one_line_errors
from beam_jobs.files import cause, read_text, remove, remove_folder, storage_errors, write_atomically
from beam_jobs.filesystems import FileSystems, LocalFileSystem, set_filesystem_options
from beam_jobs.make_shard import PLAN_FILE, UNFINISHED, MakeShard, Shard, split_for
from beam_jobs.object_store import check_reachable
from beam_jobs.planning import ClipPlanner

DEFAULT_BEAM_OPTIONS = ("--runner=DirectRunner", "--direct_running_mode=in_memory")


def generate_clips(
    clips: ClipsConfig, index: SpeakerIndex, output: str, beam_options: Sequence[str] = DEFAULT_BEAM_OPTIONS
) -> DatasetInfo:
    """Mixes the configured clips from a corpus into a dataset folder (layout: `docs/dataset.md`).

    `output` must be empty, or hold what an interrupted job of the same settings left: then its finished shards are kept. A whole
    dataset of the same settings and corpus is left as it is.

    Raises:
        UserError: too few speakers, an output that holds something else, clips that cannot be filled, a full disk,
            too many unusable files, or Beam options that are none.

    """
    if index.rejected:
        first = index.rejected[0]
        check_rejected(len(index.rejected), (first.path, first.reason), clips, index)
    check_beam_options(beam_options)
    set_filesystem_options(beam_options)
    check_reachable(output)
    if isinstance(FileSystems.get_filesystem(output), LocalFileSystem):
        output = str(Path(output).absolute())  # a worker's working directory may be another
    if FileSystems.exists(FileSystems.join(output, INFO_FILE)):
        remove_folder(FileSystems.join(output, UNFINISHED))  # an earlier run was killed while it did
        return _check_same(read_dataset_info(output), clips, index, output)
    splits = split_for(index, clips)
    for split, speakers in splits.items():
        ClipPlanner(clips, split, speakers).plan(0)
    shards = _claim(output, clips, index)
    record_bytes = 2 * clips.num_samples
    total = sum(getattr(clips.num_clips, split) for split in SPLITS)
    job = _pipeline(beam_options)
    with _watch(output, total, record_bytes), one_line_errors(), _tidied(output, job), job as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(shards, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "MakeShard" >> beam.ParDo(MakeShard())
        )
    try:
        return describe_dataset(output, clips, index, splits, shards)
    except storage_errors() as error:
        raise UserError(f"{output}: cannot be written ({cause(error)}); make room and run the same command again") from None


def _check_same(info: DatasetInfo, clips: ClipsConfig, index: SpeakerIndex, output: str) -> DatasetInfo:
    settings = info.clips.model_copy(update={"max_rejected_share": clips.max_rejected_share})
    if settings != clips or info.corpus_fingerprint != index.fingerprint():
        what = "another corpus" if settings == clips else "other settings"
        raise UserError(f"{output}: holds a dataset of {what}; give a new folder or remove this one")
    return info


def check_beam_options(beam_options: Sequence[str]) -> None:
    """Holds Beam's options against Beam, before anything depends on them.

    Raises:
        UserError: Beam refuses one of them.
    """
    # A pipeline makes a temporary folder, which only running it removes.
    shutil.rmtree(_pipeline(beam_options).local_tempdir)


def _pipeline(beam_options: Sequence[str]) -> beam.Pipeline:
    complaints = io.StringIO()
    try:
        # The defaults hold where nothing else is said: without a mode, DirectRunner would try to download Prism.
        options = PipelineOptions([*DEFAULT_BEAM_OPTIONS, *beam_options])
        with redirect_stderr(complaints):
            options.get_all_options()  # Beam parses an option only where it is used; argparse writes and exits
        return beam.Pipeline(options=options)
    except (ValueError, SystemExit) as error:
        reason = complaints.getvalue().strip().rpartition("error: ")[2] if isinstance(error, SystemExit) else str(error)
        raise UserError(f"Beam options {' '.join(beam_options)}: {' '.join(reason.split())}") from None


def _claim(output: str, clips: ClipsConfig, index: SpeakerIndex) -> list[Shard]:
    """Makes `output` this job's, or joins what an earlier run of the same job left there."""
    if set(output) & set("*?["):
        raise UserError(f"{output}: Beam takes `*`, `?` and `[` in a folder's name for a pattern; give a folder without them")
    plan = _plan(clips, index)
    path = FileSystems.join(output, UNFINISHED, PLAN_FILE)
    try:
        found = FileSystems.exists(path)
        if not found and _holds_anything(output):
            raise UserError(f"{output}: not empty; give a new folder or remove this one")
        before = read_text(path) if found else ""
        # Where the corpus lies makes no difference: it may have been moved, with the work folder or alone.
        if found and before != _plan(clips, replace(index, root=_root_of(before))):
            raise UserError(
                f"{output}: holds an unfinished dataset of other settings or another corpus; remove it or give a new folder"
            )
        for folder in (UNFINISHED, *SPLITS):
            # Object stores have no folders, and a resumed job finds its own.
            if not FileSystems.exists(FileSystems.join(output, folder)):
                FileSystems.mkdirs(FileSystems.join(output, folder))
        if before != plan:
            write_atomically(path, plan.encode())
    except storage_errors() as error:
        raise UserError(f"{output}: cannot be written ({cause(error)}); give a folder that you may write to") from None
    shards = []
    job = hashlib.sha256(plan.encode()).hexdigest()
    for split in SPLITS:
        of = -(-getattr(clips.num_clips, split) // clips.clips_per_shard)
        shards += [Shard(output, job, split, number, of) for number in range(of)]
    return shards


def _plan(clips: ClipsConfig, index: SpeakerIndex) -> str:
    return json.dumps({"clips": clips.model_dump(exclude={"max_rejected_share"}), "index": json.loads(index.to_json())}, indent=1)


def _root_of(plan: str) -> str:
    try:
        return str(json.loads(plan)["index"]["root"])
    except (ValueError, KeyError, TypeError):  # damaged, so that it is no plan of ours
        return ""


def _holds_anything(output: str) -> bool:
    # A job that was killed before its plan was whole may have left part of it.
    ours = FileSystems.join(output, UNFINISHED, "")
    found = FileSystems.match([FileSystems.join(output, "**")])[0].metadata_list
    return any(not file.path.startswith(ours) for file in found)


@contextmanager
def _watch(output: str, total: int, record_bytes: int) -> Iterator[None]:
    """Shows progress by the bytes that lie in the output, which every runner's workers write to."""
    stop = threading.Event()
    with progress("mixing clips", total, "clips") as advance:

        def count() -> int:
            metadata = FileSystems.match([FileSystems.join(output, "**")])[0].metadata_list
            written = sum(file.size_in_bytes for file in metadata if file.path.endswith((".tfrecord", ".tmp")))
            return min(total, written // record_bytes)

        def poll() -> None:
            seen, pause_s = 0, 0.5
            while not stop.wait(pause_s):
                started = time.monotonic()
                try:
                    now = count()
                except storage_errors():
                    continue  # a file that is renamed while it is looked at; the next look finds it
                advance(max(0, now - seen))
                seen = max(now, seen)
                # An object store lists a large dataset slowly, and for money.
                pause_s = max(0.5, 20 * (time.monotonic() - started))

        poller = threading.Thread(target=poll, daemon=True)
        poller.start()
        try:
            yield
        finally:
            stop.set()
            poller.join()


@contextmanager
def _tidied(output: str, job: beam.Pipeline) -> Iterator[None]:
    """Removes half-written shards where the job is stopped: its workers on this machine are, and those of a cluster may go on."""
    runs_here = job.options.view_as(StandardOptions).runner == "DirectRunner"  # Beam puts another name there as it starts
    try:
        yield
    except BaseException:
        if runs_here:
            for match in FileSystems.match([FileSystems.join(output, UNFINISHED, "*.tmp")]):
                for file in match.metadata_list:
                    remove(file.path)
        raise


def _read_index(path: str, root: str) -> SpeakerIndex:
    check_reachable(path)
    try:
        return replace(SpeakerIndex.from_json(read_text(path), path), root=root)
    except storage_errors() as error:
        write = command("corpus", "info", root, "--json", path)
        raise UserError(f"{path}: {cause(error)}; write the index with `{write}`") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job from the command line; unknown options go to Beam. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", required=True, help="YAML file with a `clips` section")
    parser.add_argument("--corpus", required=True, help="corpus root (layouts: docs/corpora.md)")
    parser.add_argument("--index", help="speaker index (`corpus info --json`), for a corpus that is not a local folder")
    parser.add_argument("--output", required=True, help="dataset folder to make")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="override a single key")
    arguments, beam_options = parser.parse_known_args(argv)
    started = time.monotonic()
    try:
        clips = load_section(ClipsConfig, "clips", arguments.config, arguments.set)
        set_filesystem_options(beam_options)
        index = _read_index(arguments.index, arguments.corpus) if arguments.index else read_corpus(arguments.corpus)
        info = generate_clips(clips, index, arguments.output, beam_options)
    except UserError as error:
        say(f"error: {error}")
        return USER_ERROR_STATUS
    total = sum(shard.num_records for shard in info.shards)
    say(f"{total} clips in {len(info.shards)} shards, {time.monotonic() - started:.1f} s: {arguments.output}")
    return 0


if __name__ == "__main__":
    from beam_jobs import generate_clips as job  # under its own name, so that workers find what is pickled

    with one_line_ending():
        sys.exit(job.main())
