# SPDX-License-Identifier: Apache-2.0
"""Lists and folders that were damaged: every file is used, or named with its reason, or the whole is refused in a line.

The referee of what files there are is find(1). MUTATIONS=10000 in the environment sets how many are tried of all layouts.
"""

import os
import shutil
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path, PurePosixPath

import layouts
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_damaged_lists import Edits, edits, mutate

from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.errors import UserError
from beam_jobs.visible import visible

LAYOUTS = {
    "LibriSpeech": ("SPEAKERS.TXT", layouts.librispeech),
    "Common Voice": ("validated.tsv", layouts.common_voice),
    "VoxCeleb1": ("vox1_meta.csv", layouts.voxceleb),
    "CSV": ("utterances.csv", layouts.plain_csv),
}
MUTATIONS = int(os.environ.get("MUTATIONS", "300"))
AUDIO = (".flac", ".wav", ".mp3", ".ogg", ".m4a", ".aac", ".opus")
NAMES = [".FLAC", ".Wav", ".m4a", ".txt", ".bak", "", ".mp3", ".flac.part", "._", "é", "\udcff", "\n", " ", "%", "11", "id12"]
HTML = b"<!DOCTYPE html><title>404</title>"

KINDS = [
    "ending", "hide", "spell", "odd name", "up", "down", "away", "copy", "twin", "empty", "html", "cut", "delete", "nowhere",
    "itself", "loop", "linked folder", "folder of that name", "pipe", "new file", "swap",
]  # fmt: skip

Damage = tuple[str, int, int]
damages = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 1000),
        st.integers(0, 1000),
    ),
    max_size=4,
)


def files_of(root: Path) -> list[Path]:
    return sorted(Path(parent) / name for parent, _, names in os.walk(root) for name in names)


def damage(root: Path, marker: str, steps: list[Damage]) -> None:
    for kind, a, b in steps:
        # Not a pipe that an earlier step made: to open it would wait for ever.
        files = [path for path in files_of(root) if path.name != marker and not path.is_fifo()]
        if not files:
            return
        path, other, word = files[a % len(files)], files[b % len(files)], NAMES[b % len(NAMES)]
        try:
            _damage(kind, root, path, other, word)
        except OSError:  # two damages that do not go together, such as a name that is too long
            continue


def _damage(kind: str, root: Path, path: Path, other: Path, word: str) -> None:
    if kind == "ending":
        path.rename(path.with_name(path.stem + (word if word.startswith(".") and word != "._" else ".WAV")))
    elif kind == "hide":
        path.rename(path.with_name(f"._{path.name}"))
    elif kind == "spell":
        path.rename(path.with_name(unicodedata.normalize("NFD", f"é{path.name}")))
    elif kind == "odd name":
        path.rename(path.with_name(f"{path.stem}{word}{path.suffix}"))
    elif kind == "up":
        path.rename(path.parent.parent / path.name if path.parent != root else path)
    elif kind == "down":
        (path.parent / "deeper").mkdir(exist_ok=True)
        path.rename(path.parent / "deeper" / path.name)
    elif kind == "away":
        path.rename(other.parent / path.name)
    elif kind == "copy":
        shutil.copy(path, path.with_suffix(word if word.startswith(".") else ".wav"))
    elif kind == "twin":
        shutil.copy(path, path.with_name(f"{path.stem} copy{path.suffix}"))
    elif kind in ("empty", "html", "cut"):
        path.write_bytes({"empty": b"", "html": HTML, "cut": path.read_bytes()[:50]}[kind])
    elif kind == "new file":
        (path.parent / f"new{word}".replace("\n", "_")).write_bytes(HTML)
    elif kind == "swap":
        path.rename(root / "swapped")
        other.rename(path)
        (root / "swapped").rename(other)
    elif kind in ("loop", "linked folder"):
        (path.parent / kind).symlink_to(path.parent.parent if kind == "loop" else other.parent)
    else:
        path.unlink()
        if kind == "nowhere":
            path.symlink_to("gone")
        elif kind == "itself":
            path.symlink_to(path.name)
        elif kind == "folder of that name":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)


@pytest.fixture(scope="module", params=LAYOUTS)
def small(request, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A corpus of one layout with short files, and its list's name."""
    marker, make = LAYOUTS[request.param]
    root = make(corpus, tmp_path_factory.mktemp("small") / "corpus")
    for path in files_of(root):
        if path.suffix in (".flac", ".wav", ".mp3", ".ogg"):
            samples, rate_hz = soundfile.read(path)
            if "1-0002" in path.name or path.stem == "00002" or int(path.stem[:2] if path.stem[:2].isdigit() else 11) > 16:
                path.unlink()
            else:
                soundfile.write(path, samples[:1600], rate_hz)
    return root, marker


def check(small: tuple[Path, str], scratch: Path, examples: int) -> None:
    source, marker = small
    content = (source / marker).read_bytes()
    outcomes: Counter[str] = Counter()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damages, edits | st.just([]))
    def one(steps: list[Damage], changes: Edits) -> None:
        root = scratch / "corpus"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(source, root)
        damage(root, marker, steps)
        (root / marker).write_bytes(mutate(content, changes))
        try:
            index = read_corpus(root)
        except UserError as error:
            assert "\n" not in str(error) and str(root) in str(error)
            assert len(str(error)) < 500 + 3 * len(str(root))
            outcomes["refused"] += 1
            return
        outcomes["read"] += 1
        outcomes["with something left out"] += bool(index.rejected or index.passed_over or index.unlisted or index.unlabelled)
        assert SpeakerIndex.from_json(index.to_json(), "index") == index
        assert not lost(root, marker, index)

    one()
    print(marker, dict(outcomes))
    assert outcomes["read"] > examples / 3 and outcomes["with something left out"] > examples / 5


def lost(root: Path, marker: str, index: SpeakerIndex) -> list[str]:
    """The files that are neither used nor named."""
    done = subprocess.run(["find", "-L", ".", "-not", "-type", "d", "-print0"], cwd=root, capture_output=True, check=False)
    there = sorted(os.fsdecode(name[2:]) for name in done.stdout.split(b"\0") if name)
    there = [path for path in there if not any(part.startswith(".") for part in path.split("/")) and path != marker]
    used = [utterance.path for utterance in index.utterances()]
    assert len(used) == len(set(used)) == len({utterance.id for utterance in index.utterances()})
    named = {*map(visible, used), *(item.path for item in (*index.rejected, *index.passed_over))}
    left = [path for path in there if visible(path) not in named]
    unlabelled = {path for path in left if speakers(root, marker, path) & set(index.unlabelled)}
    by_folder = marker in ("SPEAKERS.TXT", "vox1_meta.csv")
    # What a list names is a recording whatever its ending.
    others = Counter(ending(path) for path in left if ending(path) not in AUDIO and (by_folder or path not in unlabelled))
    counted = {"" if name == "no ending" else name: number for name, number in index.other_files.items()}
    assert {visible(name): number for name, number in others.items()} == counted
    folders = tuple(f"{folder}/" for folder in index.unlisted)
    return [path for path in left if ending(path) in AUDIO and path not in unlabelled and not visible(path).startswith(folders)]


def ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def speakers(root: Path, marker: str, path: str) -> set[str]:
    """Who speaks in a file, by its folders or by the lines of the list that hold its name."""
    if marker in ("SPEAKERS.TXT", "vox1_meta.csv"):
        return {unicodedata.normalize("NFC", part) for part in path.split("/")[-3:-2]}
    name = unicodedata.normalize("NFC", path.split("/")[-1])
    lines = (root / marker).read_bytes().decode(errors="replace").split("\n")
    return {
        unicodedata.normalize("NFC", field.strip().strip('"'))
        for line in lines
        if name in unicodedata.normalize("NFC", line)
        for field in line.replace("\t", ",").split(",")
    }


def test_every_file_is_used_or_named(small, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(small, tmp_path_factory.mktemp("damaged"), MUTATIONS // len(LAYOUTS))


def test_the_check_finds_what_is_lost(small, tmp_path: Path) -> None:
    source, marker = small
    root = Path(shutil.copytree(source, tmp_path / "corpus"))
    index = read_corpus(root)
    assert lost(root, marker, index) == []
    extra = index.speakers[0].utterances[0].path
    new = str(PurePosixPath(extra).with_name(f"new{PurePosixPath(extra).suffix}"))
    shutil.copy(root / extra, root / new)
    assert lost(root, marker, index) == [new]
