"""Reads a corpus of whatever layout it has: the one place that knows all readers."""

from collections.abc import Callable, Sequence
from pathlib import Path

from beam_jobs.console import progress as progress_bar
from beam_jobs.corpus import common_voice, librispeech, plain_csv, voxceleb
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.listing import Reader
from beam_jobs.corpus.probe import read_with
from beam_jobs.errors import UserError

READERS: tuple[Reader, ...] = (librispeech.READER, common_voice.READER, voxceleb.READER, plain_csv.READER)


def recognise(root: str | Path) -> Reader:
    """The reader for a corpus folder.

    Raises:
        UserError: no such folder, or none or several of the readers' files in it.

    """
    root = Path(root)
    looked_for = ", ".join(reader.looks_for for reader in READERS)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name a corpus folder that holds {looked_for}")
    found = [reader for reader in READERS if reader.looks_like(root)]
    if not found:
        raise UserError(f"{root}: no corpus of a layout that is known here; looked for {looked_for}; see docs/corpora.md")
    if len(found) > 1:
        both = " and ".join(reader.looks_for for reader in found)
        raise UserError(f"{root}: holds {both}, and only one of them can be meant; move the others away")
    return found[0]


def read_corpus(
    root: str | Path,
    subsets: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> SpeakerIndex:
    """Reads a corpus of any known layout (`docs/corpora.md`); arguments, result and errors are those of `read_with`."""
    return read_with(recognise(root), root, subsets, progress, cache)


def read_corpus_with_bar(root: str | Path, subsets: Sequence[str] | None = None, cache: Path | None = None) -> SpeakerIndex:
    """The same, with a progress bar in per cent: how many files there are is not known before."""
    with progress_bar("reading the corpus", 100, "%") as advance:
        shown = 0

        def show(done: int, total: int) -> None:
            nonlocal shown
            if (percent := 100 * done // total) > shown:
                advance(percent - shown)
                shown = percent

        return read_corpus(root, subsets, show, cache)
