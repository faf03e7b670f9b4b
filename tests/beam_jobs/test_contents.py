# SPDX-License-Identifier: Apache-2.0
"""What a corpus's files hold is found out once, and again whenever a file may hold something else."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_jobs.corpus import contents as module
from beam_jobs.corpus.contents import Contents, cache_file, duplicates, read_contents
from beam_jobs.corpus.digest import corpus_digest
from beam_jobs.corpus.index import Speaker, SpeakerIndex, Utterance
from beam_jobs.corpus.librispeech import read_librispeech


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "audio-gender" / "contents"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, as it goes."""
    read: list[str] = []
    digest_of = hashlib.file_digest

    def noting(file, name):
        read.append(Path(file.name).name)
        return digest_of(file, name)

    monkeypatch.setattr(module.hashlib, "file_digest", noting)
    return read


def digests(contents: Contents) -> dict[str, str]:
    return {path: content.digest for path, content in contents.items()}


def settle(root: Path) -> None:
    """Gives the files of a corpus the age that those of a real one have."""
    while time.time_ns() < module.SETTLED_NS + max(path.stat().st_ctime_ns for path in root.rglob("*.*")):
        time.sleep(0.1)


def test_the_digests_are_those_of_sha256sum(index: SpeakerIndex, corpus: Path) -> None:
    paths = [utterance.path for utterance in index.utterances()]
    said = subprocess.run(["sha256sum", *paths], cwd=corpus, capture_output=True, text=True, check=True).stdout

    assert digests(read_contents(index)) == {line.split("  ")[1]: line.split("  ")[0] for line in said.splitlines()}


def test_a_file_is_read_once_and_again_when_it_was_replaced(own_corpus: Path, hashed: list[str]) -> None:
    index = read_librispeech(own_corpus)
    settle(own_corpus)
    before = read_contents(index)
    assert len(hashed) == 36

    hashed.clear()
    assert read_contents(index) == before
    assert hashed == []

    replaced = own_corpus / next(index.utterances()).path
    samples, rate = soundfile.read(replaced)
    soundfile.write(replaced, -samples, rate, subtype="PCM_16")
    after = read_contents(index)
    assert hashed == [replaced.name]
    assert corpus_digest(index, after) != corpus_digest(index, before)


def test_a_file_of_the_same_size_and_modification_time_is_read_again(own_corpus: Path, hashed: list[str]) -> None:
    """As after `cp -p`, `rsync -t` or `flac -f`, which give the new file the times of the old one."""
    index = read_librispeech(own_corpus)
    settle(own_corpus)
    before = read_contents(index)
    path = own_corpus / next(index.utterances()).path
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    hashed.clear()

    assert digests(read_contents(index)) != digests(before)
    assert digests(read_contents(index, known=before)) != digests(before)
    assert set(hashed) == {path.name}


def test_what_changed_a_moment_ago_is_not_remembered(
    own_corpus: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system whose clock ticks once in two seconds gives what is written within a tick the same times."""
    index = read_librispeech(own_corpus)
    path = own_corpus / next(index.utterances()).path
    monkeypatch.setattr(module, "SETTLED_NS", 10**12)  # however slow the machine is
    for _ in range(2):
        read_contents(index)
    assert hashed.count(path.name) == 2


def test_the_digest_is_the_same_wherever_the_corpus_lies(index: SpeakerIndex, own_corpus: Path, tmp_path: Path) -> None:
    moved = read_librispeech(shutil.copytree(own_corpus, tmp_path / "moved", copy_function=shutil.copyfile))
    there = read_librispeech(own_corpus)

    assert corpus_digest(moved, read_contents(moved)) == corpus_digest(there, read_contents(there))
    assert corpus_digest(there, read_contents(there)) == corpus_digest(index, read_contents(index))


def test_a_single_file_that_was_treated_makes_another_corpus(own_corpus: Path) -> None:
    """The index alone, with names and lengths, does not show it."""
    index = read_librispeech(own_corpus)
    before = read_contents(index)
    for utterance in list(index.utterances())[::7]:
        path = own_corpus / utterance.path
        kept = path.read_bytes()
        samples, rate = soundfile.read(path)
        soundfile.write(path, 0.5 * samples, rate, subtype="PCM_16")
        treated = read_librispeech(own_corpus)
        assert treated.fingerprint() == index.fingerprint()
        assert corpus_digest(treated, read_contents(treated)) != corpus_digest(index, before)
        path.write_bytes(kept)
        assert corpus_digest(index, read_contents(index)) == corpus_digest(index, before)


def test_files_that_cannot_be_read_are_not_in_it(own_corpus: Path) -> None:
    index = read_librispeech(own_corpus)
    gone, pipe, *rest = (utterance.path for utterance in index.utterances())
    (own_corpus / gone).unlink()
    (own_corpus / pipe).unlink()
    os.mkfifo(own_corpus / pipe)

    contents = read_contents(index)

    assert list(contents) == rest
    assert corpus_digest(index, contents) != corpus_digest(index, {})


@pytest.mark.parametrize("spoilt", [b"", b"\n", b"no JSON", b'"/x"\n{"version": 1, "contents": 3}', b'"/x"\n{"version": 0}'])
def test_a_damaged_cache_costs_time_alone(own_corpus: Path, spoilt: bytes) -> None:
    index = read_librispeech(own_corpus)
    settle(own_corpus)
    before, store = read_contents(index), cache_file(str(own_corpus))
    store.write_bytes(spoilt)

    assert read_contents(index) == before
    assert len(json.loads(store.read_bytes().split(b"\n")[1])["contents"]) == 36


def test_a_cache_that_cannot_be_written_costs_time_alone(own_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert len(read_contents(read_librispeech(own_corpus))) == 36


def test_corpora_that_are_gone_are_forgotten(own_corpus: Path, own_cache: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(own_corpus, tmp_path / "gone")
    settle(tmp_path)
    read_contents(read_librispeech(gone))
    assert [path.name for path in own_cache.iterdir()] == [cache_file(str(gone)).name]
    shutil.rmtree(gone)

    read_contents(read_librispeech(own_corpus))
    assert [path.name for path in own_cache.iterdir()] == [cache_file(str(own_corpus)).name]


def test_files_of_one_content_are_found(tmp_path: Path, make_tone: Callable[..., np.ndarray]) -> None:
    speakers = []
    for id, files in {"1": ("a", "b", "a"), "2": ("c", "a"), "3": ("d", "b")}.items():
        utterances = []
        for k, content in enumerate(files):
            soundfile.write(tmp_path / f"{id}-{k}.wav", make_tone(100, 1.0, seed=ord(content)), 16_000)
            utterances.append(Utterance(f"{id}-{k}", f"{id}-{k}.wav", 16_000, 16_000))
        speakers.append(Speaker(id, "male", "s", tuple(utterances)))
    index = SpeakerIndex(str(tmp_path), tuple(speakers))

    found = duplicates(index, read_contents(index))

    assert [[utterance.id for _, utterance in group] for group in found] == [["1-0", "1-2", "2-1"], ["1-1", "3-1"]]
    assert [[speaker.id for speaker, _ in group] for group in found] == [["1", "1", "2"], ["1", "3"]]
