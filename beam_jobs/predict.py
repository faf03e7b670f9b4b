# SPDX-License-Identifier: Apache-2.0
"""The Beam job that says what recordings are: `python -m beam_jobs.predict --input … --output … [BEAM OPTIONS]`.

One element is one shard of recordings, which Beam's RunInference hands to a worker's model; a shard's rows are written under a
temporary name and renamed into place. So a restart goes by shard, memory does not depend on the number of recordings, and nobody
sees part of a file.
"""

import argparse
import csv
import errno
import hashlib
import importlib
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from beam_jobs.audio import is_recording
from beam_jobs.console import say
from beam_jobs.ending import USER_ERROR_STATUS, one_line_ending
from beam_jobs.errors import UserError, one_line_errors
from beam_jobs.files import absolute, cause, join, read_text, remove_folder, storage_errors, write_atomically
from beam_jobs.filesystems import FileSystems, set_filesystem_options
from beam_jobs.folders import files_below, is_hidden
from beam_jobs.object_store import check_reachable
from beam_jobs.paths import is_uri
from beam_jobs.predict_shard import UNFINISHED, RecordingShard, ShardHandler
from beam_jobs.running import DEFAULT_BEAM_OPTIONS, check_beam_options, make_pipeline, tidied, watch

HANDLER = "components.inference.beam_handler:RecordingHandler"
"""The ShardHandler that knows models, named as TFX names a `run_fn`: packages import one way, and this one comes first."""

PLAN_FILE, SUMMARY_FILE = "plan.json", "summary.json"


def predict(
    recordings: Sequence[str], handler: ShardHandler, output: str, form: str, per_shard: int, beam_options: Sequence[str]
) -> dict[str, Any]:
    """Writes a row for each recording into the shards of a folder, and what they come to into its `summary.json`.

    `output` must be empty, or hold what an interrupted job of the same recordings and model left, whose
    finished shards are kept.

    Args:
        recordings: paths and addresses.
        handler: the model.
        output: a folder.
        form: "csv" or "jsonl".
        per_shard: recordings in a shard.
        beam_options: Beam's.

    Returns:
        The summary: the handler's identity, `shards`, `recordings`, `errors`, `hours`, and `labels` with their counts.

    Raises:
        UserError: an output that holds something else or cannot be written, or Beam options that are not valid.
    """
    of = -(-len(recordings) // per_shard)
    names = [f"predictions-{index:05d}-of-{of:05d}.{form}" for index in range(of)]
    # Every of-th one, so that long recordings, which often lie together, are spread.
    shards = [RecordingShard(output, name, tuple(recordings[index::of])) for index, name in enumerate(names)]
    summary = FileSystems.join(output, SUMMARY_FILE)
    plan = handler.identity() | {"recordings_sha256": hashlib.sha256("\n".join(recordings).encode()).hexdigest(), "shards": names}
    try:
        _claim(output, plan)
        if FileSystems.exists(summary):
            remove_folder(FileSystems.join(output, UNFINISHED))  # an earlier run was killed while it did
            return dict(json.loads(read_text(summary)))
        job = make_pipeline(beam_options)
        there = FileSystems.join(output, "predictions-*")
        with (
            watch("labelling recordings", of, "shards", lambda: len(FileSystems.match([there])[0].metadata_list)),
            one_line_errors(),
            tidied(FileSystems.join(output, UNFINISHED), job),
            job as pipeline,
        ):
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards, reshuffle=False)
                | "Spread" >> beam.Reshuffle()
                | "Predict" >> RunInference(handler)
            )
        said = plan | _summarise(shards)
        write_atomically(summary, json.dumps(said, indent=1, ensure_ascii=False).encode(), FileSystems.join(output, UNFINISHED))
        remove_folder(FileSystems.join(output, UNFINISHED))
    except storage_errors() as error:
        raise UserError(
            f"{output}: cannot be written ({cause(error)}); run the same command again to continue from the finished shards"
        ) from None
    return said


def _claim(output: str, plan: dict[str, Any]) -> None:
    """Makes `output` this job's, or joins what an earlier run of the same job left there."""
    if set(output) & set("*?["):
        raise UserError(f"{output}: Beam reads `*`, `?` and `[` in a folder name as a pattern; choose a folder without them")
    unfinished = FileSystems.join(output, UNFINISHED)
    path = FileSystems.join(unfinished, PLAN_FILE)
    there = [file for file in (FileSystems.join(output, SUMMARY_FILE), path) if FileSystems.exists(file)]
    if there:
        before = json.loads(read_text(there[0]))
        if {name: before.get(name) for name in plan} != plan:
            raise UserError(
                f"{output}: already holds predictions for other recordings or shards, or by another model; choose another folder"
            )
    elif FileSystems.match([FileSystems.join(output, "**")])[0].metadata_list:
        raise UserError(f"{output}: not empty; choose another folder or remove this one")
    else:
        for folder in (output, unfinished):
            if not FileSystems.exists(folder):
                FileSystems.mkdirs(folder)
        write_atomically(path, json.dumps(plan, indent=1).encode())


def _summarise(shards: Sequence[RecordingShard]) -> dict[str, Any]:
    labels: Counter[str] = Counter()
    errors, seconds = 0, 0.0
    for shard in shards:
        for row in _read_rows(shard):
            errors += bool(row["error"])
            seconds += float(row["duration_s"])
            if not row["error"]:
                labels[row["label"]] += 1
    return {
        "recordings": sum(len(shard.recordings) for shard in shards),
        "errors": errors,
        "hours": round(seconds / 3600, 4),
        "labels": dict(sorted(labels.items())),
    }


def _read_rows(shard: RecordingShard) -> Iterator[dict[str, Any]]:
    text = read_text(shard.target)
    if shard.name.endswith(".csv"):
        yield from csv.DictReader(io.StringIO(text, newline=""))
    else:
        yield from map(json.loads, text.splitlines())


def find_recordings(paths: Iterable[str]) -> list[str]:
    """The recordings that paths and addresses mean: themselves, those of a folder and below, or what fits a pattern; sorted.

    Raises:
        UserError: one of them means none.
    """
    found: set[str] = set()
    for path in paths:
        check_reachable(path)
        name = absolute(path)  # a worker's working directory may be another
        try:
            here = set(_matches(name))
        except storage_errors() as error:
            raise UserError(f"{path}: cannot be listed ({cause(error)})") from None
        if not here:
            raise UserError(f"{path}: no recordings found")
        found |= here
    return sorted(found)


def _matches(name: str) -> Iterator[str]:
    if not is_uri(name) and Path(name).is_dir():
        # Beam's own walk passes over what it may not read. A link back to a folder above brings nothing new.
        for path in files_below(name, _raise_but_for_loops, is_hidden):
            if is_recording(path.rpartition("/")[2]):
                yield join(name, path)
        return
    if is_uri(name) and not set(name) & set("*?[") and not FileSystems.exists(name):
        pattern = FileSystems.join(name, "**")  # to an object store a folder is nothing but how names begin
    else:
        pattern = name
    for file in FileSystems.match([pattern])[0].metadata_list:
        if pattern == name or is_recording(file.path.rpartition("/")[2]):
            yield file.path


def _raise_but_for_loops(error: OSError) -> None:
    if error.errno != errno.ELOOP:
        raise OSError(error.errno, f"{error.filename}: {error.strerror}")


def _listed(path: str) -> list[str]:
    check_reachable(path)
    try:
        return [line for line in read_text(path).splitlines() if line]
    except storage_errors() as error:
        raise UserError(f"{path}: cannot be read ({cause(error)})") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job from the command line; unknown options go to Beam. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="PATH",
        help="folder, pattern or recording, here or s3://; may be repeated",
    )
    parser.add_argument(
        "--list", action="append", default=[], metavar="FILE", help="file with the path of one recording per line"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the predictions, here or s3://")
    parser.add_argument("--model", default="work/serving", metavar="DIR", help="serving folder, or that of one version")
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv")
    parser.add_argument("--recordings-per-shard", type=int, default=100, metavar="N")
    arguments, beam_options = parser.parse_known_args(argv)
    started = time.monotonic()
    try:
        if arguments.recordings_per_shard < 1:
            raise UserError("--recordings-per-shard must be 1 or more")
        check_beam_options(beam_options)
        set_filesystem_options(beam_options)
        check_reachable(arguments.output)
        recordings = find_recordings(arguments.input) if arguments.input else []
        recordings += [absolute(path) for file in arguments.list for path in _listed(file)]
        if not recordings:
            raise UserError("no recordings given; name some with --input or --list")
        module, _, name = HANDLER.partition(":")
        handler = getattr(importlib.import_module(module), name)(arguments.model)
        output, form, per_shard = absolute(arguments.output), arguments.format, arguments.recordings_per_shard
        said = predict(recordings, handler, output, form, per_shard, [*DEFAULT_BEAM_OPTIONS, *beam_options])
    except UserError as error:
        say(f"error: {error}")
        return USER_ERROR_STATUS
    labels = ", ".join(f"{count} {label}" for label, count in said["labels"].items()) or "no answers"
    say(
        f"{said['recordings']} recordings, {said['hours']:.2f} hours, in {time.monotonic() - started:.1f} s: {labels}; "
        f"{said['errors']} errors: {arguments.output}"
    )
    return 0


if __name__ == "__main__":
    from beam_jobs import predict as job  # under its own name, so that workers find what is pickled

    with one_line_ending():
        sys.exit(job.main())
