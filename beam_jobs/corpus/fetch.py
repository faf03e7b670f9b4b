# SPDX-License-Identifier: Apache-2.0
"""Fetches subsets of LibriSpeech (Panayotov et al., 2015) and Mini LibriSpeech from OpenSLR or a mirror of it.

DIR/<subset>.tar.gz.part              what has been downloaded so far; the next run goes on at its end
DIR/<subset>.tar.gz                   downloaded, with the published MD5; deleted when it is unpacked
DIR/LibriSpeech/.<subset>.unpacking/  being unpacked
DIR/LibriSpeech/<subset>/             whole: renamed into place with its marker `.completed`
"""

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from beam_jobs.console import progress, say
from beam_jobs.corpus.archives import unpack
from beam_jobs.corpus.download import Archive, RetryPolicy, download, num_bytes_of
from beam_jobs.corpus.librispeech import SPEAKER_LIST, read_speaker_list
from beam_jobs.errors import UserError
from beam_jobs.folders import files_below, is_hidden
from beam_jobs.locks import lock
from beam_jobs.paths import check_file

BASE_URL = "https://www.openslr.org/resources"
CORPUS_FOLDER = "LibriSpeech"
MARKER = ".completed"


# MD5: OpenSLR's resources/12/md5sum.txt and resources/31/md5sum.txt, as quoted alike by DeepSpeech's (PaddlePaddle) and
# NVIDIA's recipes, among others. Sizes: tensorflow_datasets' url_checksums/librispeech.txt and Kaldi's
# download_and_untar.sh; those of resource 31 as observed beside these MD5s by two users of it.
ARCHIVES = {
    archive.subset: archive
    for archive in (
        Archive("dev-clean", 12, 337_926_286, "42e2234ba48799c1f50f24a7926300a1"),
        Archive("dev-other", 12, 314_305_928, "c8d0bcc9cca99d4f8b62fcc847357931"),
        Archive("test-clean", 12, 346_663_984, "32fa31d27d2e1cad72775fee3f4849a9"),
        Archive("test-other", 12, 328_757_843, "fb5a50374b501bb3bac4815ee91d3135"),
        Archive("train-clean-100", 12, 6_387_309_499, "2a93770f6d5c6c964bc36631d331a522"),
        Archive("train-clean-360", 12, 23_049_477_885, "c0e676e450a7ff2f54aeade5171606fa"),
        Archive("train-other-500", 12, 30_593_501_606, "d1a0fd59409feb2c614ce4d30c387708"),
        Archive("dev-clean-2", 31, 126_046_265, "6d7ab67ac6a1d2c993d050e16d61080d"),
        Archive("train-clean-5", 31, 332_954_390, "5df7d4e78065366204ca6845bb08f490"),
    )
}

# FLAC hardly compresses: unpacked, a subset is its archive and the rest of each file's last disk block.
EXPECTED_GROWTH = 1.1
MAX_GROWTH = 2
MAX_HEADER_BYTES = 64 << 20


def fetch_subsets(subsets: Sequence[str], dest: Path, base_url: str = BASE_URL, policy: RetryPolicy | None = None) -> Path:
    """Downloads, checks and unpacks what is not there yet, and returns the corpus's root, `dest`/LibriSpeech.

    However it was stopped, the same call goes on from there. A subset appears whole or not at all.

    Args:
        subsets: names out of `ARCHIVES`.
        dest: the folder for archives and corpus.
        base_url: the folder of the server that holds 12/dev-clean.tar.gz and so on.
        policy: with a server that fails; None for the default.

    Raises:
        UserError: an unknown subset, no room, an address that serves no such archive or nothing for a while, or an
            archive that is not what was published.

    """
    if unknown := [subset for subset in subsets if subset not in ARCHIVES]:
        raise UserError(f"no subset {unknown[0]!r}; there are {', '.join(ARCHIVES)}")
    if not re.match(r"https?://[^/]", base_url):
        raise UserError(f"{base_url!r} is not a base URL; it starts with https:// or http:// and a host, such as {BASE_URL}")
    root = dest / CORPUS_FOLDER
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone_in(dest):
            missing = []
            for archive in (ARCHIVES[subset] for subset in dict.fromkeys(subsets)):
                if _is_complete(root, archive):
                    _tidy(dest, archive)
                    say(f"{archive.subset}: complete already")
                else:
                    missing.append(archive)
            _check_room(dest, missing)
            for archive in missing:
                url = f"{base_url.rstrip('/')}/{archive.resource}/{archive.name}"
                download(archive, url, dest, policy or RetryPolicy())
                files = _unpack(archive, dest)
                say(f"{archive.subset}: {files} utterances in {root / archive.subset}")
    except KeyboardInterrupt:
        say("stopped; the same command resumes from here")
        raise
    except OSError as error:
        where = error.filename or dest
        raise UserError(
            f"{where}: cannot be used ({error.strerror or error}); fix that and run the same command again"
        ) from error
    return root


def _alone_in(dest: Path) -> ExitStack:
    # Two processes that write to one file would both fail its checksum.
    try:
        return lock(dest, wait=False)
    except BlockingIOError:
        raise UserError(f"{dest}: another `corpus fetch` is running here; wait for it or name another folder") from None


def _check_room(dest: Path, archives: Sequence[Archive]) -> None:
    """Raises UserError unless archives and subsets fit, one after the other, each archive deleted once it is unpacked."""
    needed = held = 0
    for archive in archives:
        there = num_bytes_of(archive.part(dest)) or num_bytes_of(dest / archive.name)
        unpacked = round(archive.num_bytes * EXPECTED_GROWTH)
        needed = max(needed, held + archive.num_bytes - there + unpacked)
        held += unpacked - there
    if (free := _free_bytes(dest)) < needed:
        names = ", ".join(archive.subset for archive in archives)
        raise UserError(
            f"{dest}: {free / 1e9:.1f} GB free, and {names} and the archives need {needed / 1e9:.1f} GB; "
            "free space or name another folder"
        )


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _unpack(archive: Archive, dest: Path) -> int:
    """Unpacks a checked archive, renames the subset into place and deletes the archive; returns the number of FLAC files."""
    root, whole = dest / CORPUS_FOLDER, dest / archive.name
    unpacking = _unpacking(root, archive)
    if unpacking.exists():
        shutil.rmtree(unpacking)
    try:
        with progress(f"unpacking {archive.name}", archive.num_bytes / 1e6, "MB") as advance:
            max_bytes = MAX_GROWTH * archive.num_bytes + MAX_HEADER_BYTES
            unpack(whole, unpacking, max_bytes, lambda num_bytes: advance(num_bytes / 1e6))
        subset, target = unpacking / CORPUS_FOLDER / archive.subset, root / archive.subset
        if not subset.is_dir():
            raise UserError(f"{whole}: holds no {CORPUS_FOLDER}/{archive.subset}; delete it and fetch it from another mirror")
        num_files, num_bytes = _audio(subset)
        _add_lists(unpacking / CORPUS_FOLDER, root)
        marker = {"archive": archive.name, "md5": archive.md5, "flac_files": num_files, "flac_bytes": num_bytes}
        (subset / MARKER).write_text(json.dumps(marker) + "\n")
        if target.exists():
            shutil.rmtree(target)
        subset.rename(target)
    except BaseException:
        shutil.rmtree(unpacking, ignore_errors=True)
        raise
    _tidy(dest, archive)
    return num_files


def _unpacking(root: Path, archive: Archive) -> Path:
    # Hidden: who reads the corpus meanwhile does not take it for a subset.
    return root / f".{archive.subset}.unpacking"


def _tidy(dest: Path, archive: Archive) -> None:
    """Deletes what a complete subset does not need any more."""
    for path in (dest / archive.name, archive.part(dest)):
        path.unlink(missing_ok=True)
    if (unpacking := _unpacking(dest / CORPUS_FOLDER, archive)).exists():
        shutil.rmtree(unpacking)


def _is_complete(root: Path, archive: Archive) -> bool:
    """Whether the marker is there, is of this archive, and no audio has gone since."""
    folder = root / archive.subset
    try:
        check_file(folder / MARKER)
        marker = json.loads((folder / MARKER).read_text())
        expected = marker["md5"], marker["flac_files"], marker["flac_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return (root / SPEAKER_LIST).is_file() and (archive.md5, *_audio(folder)) == expected


def _audio(folder: Path) -> tuple[int, int]:
    sizes = [(folder / path).stat().st_size for path in files_below(folder, skip=is_hidden) if path.endswith(".flac")]
    return len(sizes), sum(sizes)


def _add_lists(source: Path, root: Path) -> None:
    """Moves SPEAKERS.TXT and the other lists beside the subsets; of those that are there, speakers are added to theirs."""
    speakers = root / SPEAKER_LIST
    if speakers.exists() and (source / SPEAKER_LIST).exists():
        known, new = read_speaker_list(speakers), read_speaker_list(source / SPEAKER_LIST)
        if differing := sorted(id for id in known.keys() & new.keys() if known[id] != new[id]):
            raise UserError(
                f"{speakers}: speaker {differing[0]} is annotated {known[differing[0]]}, and {new[differing[0]]} in the archive; "
                "name another folder"
            )
        if missing := new.keys() - known.keys():
            lines = (source / SPEAKER_LIST).read_bytes().split(b"\n")
            added = [line for line in lines if line.split(b"|")[0].decode("utf-8-sig").strip() in missing]
            (source / SPEAKER_LIST).write_bytes(b"\n".join([speakers.read_bytes().rstrip(b"\n"), *added, b""]))
            (source / SPEAKER_LIST).replace(speakers)
    for path in source.iterdir():
        if path.is_file() and not (root / path.name).exists():
            path.rename(root / path.name)
