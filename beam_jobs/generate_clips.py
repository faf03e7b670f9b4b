# SPDX-License-Identifier: Apache-2.0
"""The Beam job that mixes clips: `python -m beam_jobs.generate_clips --config … --corpus … --output … [BEAM OPTIONS]`.

One element is one shard. Its worker makes the clips in order, writes them under a temporary name and renames the finished
file into place, so memory stays flat, nothing is shuffled, a restart goes by shard, and nobody ever sees part of one.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import apache_beam as beam

from beam_jobs.command_line import command
from beam_jobs.config import SPLITS, ClipsConfig, load_section
from beam_jobs.console import say
from beam_jobs.corpus.contents import Contents, duplicates, read_contents
from beam_jobs.corpus.digest import corpus_digest
from beam_jobs.corpus.index import Speaker, SpeakerIndex
from beam_jobs.corpus.left_out import left_out_lines
from beam_jobs.corpus.listing import THE_LAYOUT_S_OWN, Labelling
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.corpus.splits import check_duplicates
from beam_jobs.dataset import INFO_FILE, REJECTED_FILE, DatasetInfo, read_dataset_info
from beam_jobs.dataset_folders import datasets_folder, is_plan_of, is_same, other_datasets, own_folder, plan_of, same_settings
from beam_jobs.describe_dataset import check_rejected, describe_dataset
from beam_jobs.ending import USER_ERROR_STATUS, one_line_ending
from beam_jobs.errors import UserError, one_line_errors
from beam_jobs.files import cause, read_text, remove_folder, storage_errors, write_atomically
from beam_jobs.filesystems import FileSystems, LocalFileSystem, set_filesystem_options
from beam_jobs.make_shard import PLAN_FILE, UNFINISHED, MakeShard, Shard, split_for
from beam_jobs.object_store import check_reachable
from beam_jobs.planning import ClipPlanner, counted
from beam_jobs.running import DEFAULT_BEAM_OPTIONS, check_beam_options, make_pipeline, tidied, watch


def generate_clips(
    clips: ClipsConfig, index: SpeakerIndex, output: str, beam_options: Sequence[str] = DEFAULT_BEAM_OPTIONS
) -> DatasetInfo:
    """Mixes the configured clips from a corpus into a dataset folder (layout: `docs/dataset.md`).

    `output` must be empty, or hold what an interrupted job of the same settings left: then its finished shards are kept. A whole
    dataset of the same settings and corpus is left as it is.

    Raises:
        UserError: a label without speakers, too few speakers or utterances, a recording under two labels or in two splits, an
            output that holds something else, clips that cannot be filled, a full disk, too many unusable files, recordings that
            were replaced on the way, or Beam options that are not valid.

    """
    index, contents = _checked(clips, index, output, beam_options)
    return _generate(clips, index, contents, output, beam_options)


def generate_below(
    clips: ClipsConfig, index: SpeakerIndex, folder: str, beam_options: Sequence[str] = DEFAULT_BEAM_OPTIONS
) -> tuple[str, DatasetInfo]:
    """As `generate_clips`, in a folder of the dataset's own below `folder`, named by its settings and recordings.

    So a corpus may grow and settings may change while datasets of before stay as they are, which is said. A dataset of the same
    settings and recordings that lies in `folder` itself is taken, or finished. One of others whose own folder `folder` is stands
    for the folder of datasets that it is in.

    Returns:
        The dataset's folder, and its description.

    Raises:
        UserError: as `generate_clips`.
    """
    folder = folder.rstrip("/") or folder
    index, contents = _checked(clips, index, folder, beam_options)
    output = own_folder(folder, clips, index, corpus_digest(index, contents))
    info = _generate(clips, index, contents, output, beam_options)
    if others := other_datasets(datasets_folder(output, ""), output):
        say(others)
    return output, info


def _checked(clips: ClipsConfig, index: SpeakerIndex, output: str, beam_options: Sequence[str]) -> tuple[SpeakerIndex, Contents]:
    """The index with the configured labels, and what its recordings hold."""
    index = index.with_labels(clips.labels)
    if index.rejected:
        first = index.rejected[0]
        check_rejected(len(index.rejected), f"such as {first.path}: {first.reason}", clips, index)
    check_beam_options(beam_options)
    set_filesystem_options(beam_options)
    check_reachable(output)
    return index, read_contents(index)


def _generate(
    clips: ClipsConfig, index: SpeakerIndex, contents: Contents, output: str, beam_options: Sequence[str]
) -> DatasetInfo:
    digest = corpus_digest(index, contents)
    if isinstance(FileSystems.get_filesystem(output), LocalFileSystem):
        output = str(Path(output).absolute())  # a worker's working directory may be another
    if FileSystems.exists(FileSystems.join(output, INFO_FILE)):
        remove_folder(FileSystems.join(output, UNFINISHED))  # an earlier run was killed while it did
        info = _check_same(read_dataset_info(output), clips, digest, output)
        check_rejected(info.rejected, f"listed in {FileSystems.join(output, REJECTED_FILE)}", clips, index)
        _say_left_out(index)
        return info
    splits = split_for(index, clips)
    for split, speakers in splits.items():
        ClipPlanner(clips, split, speakers).plan(0)
    num_duplicates = check_duplicates(splits, duplicates(index, contents))
    shards = _claim(output, clips, index, digest)
    _say_left_out(index)
    if few := _few_speakers(clips, splits):
        say(few)
    if num_duplicates:
        copies = counted(num_duplicates, "recording")
        say(f"duplicates in the corpus: {copies} with the same audio as another of the same label and split")
    record_bytes = 2 * clips.num_samples
    total = sum(getattr(clips.num_clips, split) for split in SPLITS)
    job = make_pipeline(beam_options)
    count = partial(_clips_there, output, total, record_bytes)
    unfinished = FileSystems.join(output, UNFINISHED)
    with watch("mixing clips", total, "clips", count), one_line_errors(), tidied(unfinished, job), job as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(shards, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "MakeShard" >> beam.ParDo(MakeShard())
        )
    if corpus_digest(index, read_contents(index, contents)) != digest:
        raise UserError(
            f"{index.root}: recordings were replaced while clips were being mixed from them; remove {output} and run the command "
            "again"
        )
    try:
        return describe_dataset(output, clips, index, digest, num_duplicates, splits, shards)
    except storage_errors() as error:
        raise UserError(f"{output}: cannot be written ({cause(error)}); free some space and run the same command again") from None


def _few_speakers(clips: ClipsConfig, splits: Mapping[str, Sequence[Speaker]]) -> str | None:
    """What to say where a clip may hold more voices at once than a split has speakers of a label; of the smallest split."""
    few, split, label = min(
        (sum(speaker.label == label for speaker in speakers), split, label)
        for split, speakers in splits.items()
        for label in clips.labels
    )
    if not clips.simultaneous_share or few >= clips.max_utterances:
        return None
    return (
        f"split {split} has {counted(few, f'{label} speaker')}, but a clip may hold {clips.max_utterances} voices "
        "(clips.max_utterances): the same speaker may be heard several times at once"
    )


def _say_left_out(index: SpeakerIndex) -> None:
    for line in left_out_lines(index):
        say(line)


def _check_same(info: DatasetInfo, clips: ClipsConfig, digest: str, output: str) -> DatasetInfo:
    if not is_same(info, clips, digest):
        same = same_settings(info, clips)
        what = "from another corpus, or its recordings were replaced since" if same else "with other settings"
        raise UserError(f"{output}: already holds a dataset {what}; choose another folder or remove this one")
    return info


def _claim(output: str, clips: ClipsConfig, index: SpeakerIndex, digest: str) -> list[Shard]:
    """Makes `output` this job's, or joins what an earlier run of the same job left there."""
    if set(output) & set("*?["):
        raise UserError(f"{output}: Beam reads `*`, `?` and `[` in a folder name as a pattern; choose a folder without them")
    plan = plan_of(clips, index, digest)
    path = FileSystems.join(output, UNFINISHED, PLAN_FILE)
    try:
        found = FileSystems.exists(path)
        if not found and _holds_anything(output):
            raise UserError(f"{output}: not empty; choose another folder or remove this one")
        before = read_text(path) if found else ""
        if found and not is_plan_of(before, clips, index, digest):
            raise UserError(
                f"{output}: holds an unfinished dataset with other settings or from another corpus, or recordings were replaced "
                "since; remove it or choose another folder"
            )
        for folder in (UNFINISHED, *SPLITS):
            # Object stores have no folders, and a resumed job finds its own.
            if not FileSystems.exists(FileSystems.join(output, folder)):
                FileSystems.mkdirs(FileSystems.join(output, folder))
        if before != plan:
            write_atomically(path, plan.encode())
    except storage_errors() as error:
        raise UserError(f"{output}: cannot be written ({cause(error)}); choose a folder that you can write to") from None
    shards = []
    job = hashlib.sha256(plan.encode()).hexdigest()
    for split in SPLITS:
        of = -(-getattr(clips.num_clips, split) // clips.clips_per_shard)
        shards += [Shard(output, job, split, number, of) for number in range(of)]
    return shards


def _holds_anything(output: str) -> bool:
    # A job that was killed before its plan was whole may have left part of it.
    ours = FileSystems.join(output, UNFINISHED, "")
    found = FileSystems.match([FileSystems.join(output, "**")])[0].metadata_list
    return any(not file.path.startswith(ours) for file in found)


def _clips_there(output: str, total: int, record_bytes: int) -> int:
    """How many clips are written, by the bytes that lie in the output, which every runner's workers write to."""
    metadata = FileSystems.match([FileSystems.join(output, "**")])[0].metadata_list
    written = sum(file.size_in_bytes for file in metadata if file.path.endswith((".tfrecord", ".tmp")))
    return min(total, written // record_bytes)


def _read_index(path: str, root: str) -> SpeakerIndex:
    check_reachable(path)
    try:
        return replace(SpeakerIndex.from_json(read_text(path), path), root=root)
    except storage_errors() as error:
        write = command("corpus", "info", root, "--json", path)
        raise UserError(f"{path}: {cause(error)}; make the index with `{write}`") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job from the command line; unknown options go to Beam. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", required=True, help="YAML file with a `clips` section")
    parser.add_argument("--corpus", required=True, help="corpus root (layouts: docs/corpora.md)")
    parser.add_argument("--index", help="speaker index (`corpus info --json`), for a corpus that is not a local folder")
    parser.add_argument("--output", required=True, help="dataset folder to make")
    parser.add_argument("--label-column", help="column of the corpus's list that holds the labels")
    parser.add_argument("--label-per-recording", action="store_true", help="one speaker's recordings may have different labels")
    parser.add_argument("--speaker-pattern", help="regular expression whose group `speaker` finds who speaks in a path")
    parser.add_argument("--feedback", help="list of recordings that users labelled: path,label,who")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="override a single key")
    arguments, beam_options = parser.parse_known_args(argv)
    started = time.monotonic()
    try:
        clips = load_section(ClipsConfig, "clips", arguments.config, arguments.set)
        set_filesystem_options(beam_options)
        labelling = Labelling(
            arguments.label_column, arguments.label_per_recording, arguments.speaker_pattern, arguments.feedback
        )
        if arguments.index and labelling != THE_LAYOUT_S_OWN:
            raise UserError("--index holds the labels and speakers already; give their options to `corpus info --json`")
        index = (
            _read_index(arguments.index, arguments.corpus)
            if arguments.index
            else read_corpus(arguments.corpus, labelling=labelling)
        )
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
