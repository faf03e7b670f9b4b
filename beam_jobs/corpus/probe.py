# SPDX-License-Identifier: Apache-2.0
"""From a listing to a speaker index: how long each file is, measured in parallel, and remembered where a cache is given."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import soundfile

from beam_jobs.audio import AudioError, measure_audio
from beam_jobs.corpus.index import Rejected, Speaker, SpeakerIndex, Utterance
from beam_jobs.corpus.listing import THE_LAYOUT_S_OWN, Labelling, ListedFile, Listing, Reader, shown
from beam_jobs.errors import UserError
from beam_jobs.files import write_atomically
from beam_jobs.visible import visible

BATCH = 64  # files; a task for each would cost as much as reading a header

# Another libsndfile may count an MP3's samples otherwise. 1: an MP3 of variable rate was as long as libsndfile guessed.
# 2: without the time of change.
CACHE_VERSION = f"3 libsndfile {soundfile.__libsndfile_version__}"


class Length(NamedTuple):
    """A file's length, and what it looked like when it was measured (`changed_ns` is a time that nobody can set)."""

    size: int
    modified_ns: int
    changed_ns: int
    num_samples: int
    sample_rate_hz: int


def read_with(
    reader: Reader,
    root: str | Path,
    subsets: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
    labelling: Labelling = THE_LAYOUT_S_OWN,
) -> SpeakerIndex:
    """Reads a corpus of a known layout; of the audio only headers, where those say how long a file is.

    Speakers and utterances are sorted by id as plain strings ("103" before "14"). A speaker's subset is that of the first
    usable file by path. Speakers without a label or without a usable file are left out.

    Args:
        reader: the layout.
        root: the corpus folder.
        subsets: those to read; None for all.
        progress: called with (files done, files in all).
        cache: a folder to remember lengths in; a file whose size and times of modification and change are the same is not opened
            again.
        labelling: where the labels are, where the layout leaves that open.

    Raises:
        UserError: no such folder or subset, a list that cannot be read, no usable audio, or a cache that cannot be written.

    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name a corpus folder that holds {reader.marker} and {reader.layout}")
    labelling.check(reader, root)
    listing = reader.list_files(root, subsets, labelling)
    labels = {file.path: visible(file.label or listing.speakers[file.speaker].label or "") for file in listing.files}
    files = sorted((file for file in listing.files if labels[file.path]), key=lambda file: file.path)
    unlabelled = {file.speaker for file in listing.files} - {file.speaker for file in files}

    rejected = _visible(listing.rejected)
    first_paths: dict[str, str] = {}
    subset_of: dict[str, str] = {}
    found: dict[tuple[str, str], list[Utterance]] = {}
    with closing(_lengths(root, files, cache)) as lengths:
        for done, (file, length) in enumerate(lengths, start=1):
            if isinstance(length, str):
                rejected.append(Rejected(visible(file.path), length))
            elif (first := first_paths.setdefault(file.id, file.path)) != file.path:
                rejected.append(Rejected(visible(file.path), f"the same utterance id as {visible(first)}"))
            else:
                utterance = Utterance(file.id, file.path, length.num_samples, length.sample_rate_hz)
                found.setdefault((file.speaker, labels[file.path]), []).append(utterance)
                subset_of.setdefault(file.speaker, file.subset)
            if progress:
                progress(done, len(files))

    rejected.sort(key=lambda item: item.path)
    if not found:
        raise UserError(_no_audio(reader, root, subsets, listing, sorted(unlabelled), rejected))
    speakers = (
        Speaker(id, label, subset_of[id], tuple(sorted(items, key=lambda item: item.id)), listing.speakers[id].split)
        for (id, label), items in sorted(found.items())
    )
    return SpeakerIndex(
        str(root.absolute()),
        tuple(speakers),
        tuple(map(visible, listing.unlisted)),
        tuple(rejected),
        tuple(sorted(unlabelled)),
        tuple(sorted(_visible(listing.passed_over), key=lambda item: item.path)),
        {visible(ending): number for ending, number in listing.other_files.items()},
    )


def _visible(items: Sequence[Rejected]) -> list[Rejected]:
    return [Rejected(visible(item.path), item.reason) for item in items]


def _lengths(root: Path, files: Sequence[ListedFile], cache: Path | None) -> Generator[tuple[ListedFile, Length | str]]:
    """Each file with its length, or why it cannot be used, in the order of `files`."""
    store = cache / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}.json" if cache else None
    known = _load(store) if store else {}
    fresh: dict[str, Length] = {}
    batches = (files[start : start + BATCH] for start in range(0, len(files), BATCH))
    stopped = threading.Event()
    with ThreadPoolExecutor() as pool:
        try:
            measured = chain.from_iterable(pool.map(partial(_measure, root, known, stopped), batches))
            for file, length in zip(files, measured, strict=True):
                # What cannot be used is looked at again: it may be mended, or ffmpeg installed.
                if isinstance(length, Length) and known.get(file.path) != length:
                    fresh[file.path] = length
                yield file, length
        finally:
            stopped.set()  # Ctrl-C must not wait for what the threads still have to do
            pool.shutdown(cancel_futures=True)
    if store and fresh:
        _save(store, {**known, **fresh})


def _measure(
    root: Path, known: Mapping[str, Length], stopped: threading.Event, files: Sequence[ListedFile]
) -> list[Length | str]:
    return [measure_file(root, known.get(file.path), file.path) for file in files if not stopped.is_set()]


def measure_file(root: Path, known: Length | None, path: str) -> Length | str:
    """The length of a file of a corpus, or why it cannot be used; `known` is what it was before, if it was measured."""
    try:
        path.encode()
        state = os.stat(root / path)  # noqa: PTH116 (a Path's own costs twice as much)
        if known and known[:3] == (state.st_size, state.st_mtime_ns, state.st_ctime_ns):
            return known
        num_samples, sample_rate_hz = measure_audio(str(root / path))
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    except AudioError as error:
        return str(error)
    return Length(state.st_size, state.st_mtime_ns, state.st_ctime_ns, num_samples, sample_rate_hz)


def _load(store: Path) -> dict[str, Length]:
    try:
        data = json.loads(store.read_bytes())
        if data["version"] != CACHE_VERSION:
            return {}
        return {path: Length(*values) for path, values in data["lengths"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # not there or not whole: measured anew and written over


def _save(store: Path, lengths: Mapping[str, Length]) -> None:
    text = json.dumps({"version": CACHE_VERSION, "lengths": lengths}, ensure_ascii=False)
    try:
        write_atomically(str(store), text.encode())
    except OSError as error:
        raise UserError(f"{store}: cannot be written ({error.strerror}); free some space") from None


def _no_audio(
    reader: Reader,
    root: Path,
    subsets: Sequence[str] | None,
    listing: Listing,
    unlabelled: Sequence[str],
    rejected: Sequence[Rejected],
) -> str:
    where = f"{root}: no usable audio" + (f" in {', '.join(subsets)}" if subsets else "")
    if rejected:
        return f"{where}: {len(rejected)} rejected, the first {rejected[0].path}: {rejected[0].reason}"
    if unlabelled:
        another = "; --label-column reads another column" if "label_column" in reader.takes else ""
        return (
            f"{where}: none of its {len(unlabelled)} speakers ({shown(unlabelled[0])}, …) has a usable label in "
            f"{reader.marker}{another}"
        )
    if listing.unlisted:
        first = visible(listing.unlisted[0])
        return f"{where}: none of its {len(listing.unlisted)} speaker folders ({first}, …) is listed in {reader.marker}"
    if listing.passed_over:
        first, reason = visible(listing.passed_over[0].path), listing.passed_over[0].reason
        return f"{where}: {len(listing.passed_over)} recordings ignored, the first {first}: {reason}"
    return f"{where}; expected {reader.layout}"
