# SPDX-License-Identifier: Apache-2.0
"""Reads a corpus of whatever layout it has: the one place that knows all readers."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from beam_jobs.command_line import command
from beam_jobs.console import progress as progress_bar
from beam_jobs.corpus import common_voice, folders, librispeech, plain_csv, voxceleb
from beam_jobs.corpus.feedback import add_feedback
from beam_jobs.corpus.index import FEEDBACK, SpeakerIndex
from beam_jobs.corpus.listing import THE_LAYOUT_S_OWN, Labelling, Reader
from beam_jobs.corpus.probe import read_with
from beam_jobs.errors import UserError
from beam_jobs.files import cause, read_text, storage_errors
from beam_jobs.object_store import check_reachable
from beam_jobs.paths import is_uri

INDEX_FILE = "speaker_index.json"

READERS: tuple[Reader, ...] = (librispeech.READER, common_voice.READER, voxceleb.READER, voxceleb.READER_2, plain_csv.READER)


def recognise(root: str | Path) -> Reader:
    """The reader for a corpus folder.

    Raises:
        UserError: no such folder, or none or several of the readers' files in it.

    """
    root = Path(root)
    looked_for = ", ".join(reader.looks_for for reader in READERS)
    if not os.path.isdir(root):  # noqa: PTH112 (Path.is_dir raises where a path is too long)
        raise UserError(
            f"{root}: no such folder; name a corpus folder that holds {looked_for}, or recordings in a folder for each label"
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"{root}: cannot be read (Permission denied); name a folder that you have permission to read")
    if not _is_text(root):
        raise UserError(f"{root}: the folder's name is not UTF-8, which reports and stores cannot hold; rename it")
    found = [reader for reader in READERS if reader.looks_like(root)]
    unreadable: list[str] = []
    if not found and folders.looks_like(root, unreadable):
        return folders.READER
    if not found:
        hidden = f"; what may be there cannot be read: {', '.join(unreadable[:3])}" if unreadable else ""
        raise UserError(
            f"{root}: not a corpus in any known layout; looked for {looked_for}, or recordings in a "
            f"folder for each label{hidden}; see docs/corpora.md"
        )
    if len(found) > 1:
        both = " and ".join(reader.looks_for for reader in found)
        raise UserError(f"{root}: holds {both}, but a corpus has one layout; move the other lists elsewhere")
    return found[0]


def _is_text(path: Path) -> bool:
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of(root: str | Path) -> tuple[str, str]:
    """In words, which layout a corpus has, and where its list of speakers is.

    Raises:
        UserError: as `recognise`.
    """
    if is_uri(root):
        return f"a corpus that is not a local folder, by its {INDEX_FILE}", INDEX_FILE
    reader = recognise(root)
    return f"{reader.name} ({reader.marker} and {reader.layout})", reader.marker


def read_corpus(
    root: str | Path,
    subsets: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
    labelling: Labelling = THE_LAYOUT_S_OWN,
) -> SpeakerIndex:
    """Reads a corpus of any known layout (`docs/corpora.md`); arguments, result and errors are those of `read_with`.

    A corpus that is not a local folder, such as `s3://…`, is not searched: it must hold its index as `speaker_index.json`.

    >>> index = read_corpus("corpus")
    >>> len(index.speakers), index.labels()
    (12, ('male', 'female'))
    >>> index.speakers[0].utterances[0].path
    'tones/11/1/11-1-0000.flac'
    """
    if is_uri(root):
        if labelling != THE_LAYOUT_S_OWN:
            raise UserError(
                f"{root}: a corpus that is not a local folder has its labels in its {INDEX_FILE}; give the column, the pattern "
                f"or the feedback to `{command('corpus', 'info', 'ROOT', '--json', INDEX_FILE)}`, and leave it out here"
            )
        return _read_stored(str(root).rstrip("/"), subsets)
    index = read_with(recognise(root), root, subsets, progress, cache, labelling)
    return add_feedback(index, Path(labelling.feedback)) if labelling.feedback else index


def read_corpus_with_bar(
    root: str | Path,
    subsets: Sequence[str] | None = None,
    cache: Path | None = None,
    labelling: Labelling = THE_LAYOUT_S_OWN,
) -> SpeakerIndex:
    """The same, with a progress bar in per cent: how many files there are is not known before."""
    with progress_bar("reading the corpus", 100, "%") as advance:
        shown = 0

        def show(done: int, total: int) -> None:
            nonlocal shown
            if (percent := 100 * done // total) > shown:
                advance(percent - shown)
                shown = percent

        return read_corpus(root, subsets, show, cache, labelling)


def _read_stored(root: str, subsets: Sequence[str] | None) -> SpeakerIndex:
    path = f"{root}/{INDEX_FILE}"
    check_reachable(root)
    try:
        index = SpeakerIndex.from_json(read_text(path), path)
    except storage_errors() as error:
        raise UserError(
            f"{path}: {cause(error)}; a corpus that is not a local folder needs its index there: "
            f"`{command('corpus', 'info', 'ROOT', '--json', INDEX_FILE)}`"
        ) from None
    there = {speaker.subset for speaker in index.speakers}
    for subset in subsets or ():
        if subset not in there:
            raise UserError(f"{path}: no subset {subset}; there are {', '.join(sorted(there))}")
    speakers = tuple(speaker for speaker in index.speakers if not subsets or speaker.subset in (*subsets, FEEDBACK))
    return replace(index, root=root, speakers=speakers)
