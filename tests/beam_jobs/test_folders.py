# SPDX-License-Identifier: Apache-2.0
"""The walk over a folder: nothing below it is passed over in silence, whoever looks."""

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import layouts
import pytest
import soundfile

from beam_jobs.audio import ffmpeg_is_there
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.folders import files_below, is_hidden

ROOT = Path(__file__).parents[2]
NOBODY = 65_534


def as_nobody(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command as a user who may not read everything: root may."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root reads every folder, and there is no setpriv (Debian: util-linux)")
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*prefix, *map(str, command)], capture_output=True, text=True, env=environment, check=False, cwd="/")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def info(root: Path) -> subprocess.CompletedProcess[str]:
    done = as_nobody(sys.executable, "-m", "pipeline", "corpus", "info", root)
    if "can't open file" in done.stderr or "Permission denied: '/" in done.stderr:
        pytest.skip("another user may not read this checkout")
    return done


@pytest.mark.parametrize("name", ["LibriSpeech", "VoxCeleb1"])
def test_folders_that_may_not_be_read_are_an_error_that_names_them(corpus: Path, open_folder: Path, name: str) -> None:
    make = {"LibriSpeech": layouts.librispeech, "VoxCeleb1": layouts.voxceleb}[name]
    root = make(corpus, open_folder / "corpus")
    speakers = root / ("tones" if name == "LibriSpeech" else "wav")
    locked = sorted(speakers.iterdir())[:2]
    elsewhere = Path(shutil.move(locked[1], open_folder / "elsewhere"))
    locked[1].symlink_to(elsewhere)
    for folder in (locked[0], elsewhere):
        folder.chmod(0o700)
        if os.geteuid():
            folder.chmod(0)

    done = info(root)

    for folder in (locked[0], elsewhere):
        folder.chmod(0o755)
    assert done.returncode == 2, done.stderr
    names = ", ".join(f"{folder.relative_to(root)} (Permission denied)" for folder in locked)
    said = done.stderr.replace("\n", " ")
    assert f"{root}: folders that cannot be read: {names}; change their permissions, or move them out" in said
    assert info(root).returncode == 0


def test_a_link_into_a_folder_that_may_not_be_entered_is_an_error_too(corpus: Path, open_folder: Path) -> None:
    root, locked = layouts.librispeech(corpus, open_folder / "corpus"), open_folder / "locked"
    locked.mkdir()
    speaker = min((root / "tones").iterdir())
    speaker.symlink_to(shutil.move(speaker, locked))
    locked.chmod(0o700 if os.geteuid() == 0 else 0)

    done = info(root)

    locked.chmod(0o755)
    assert done.returncode == 2, done.stdout
    assert f"folders that cannot be read: tones/{speaker.name} (Permission denied)" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("name", ["LibriSpeech", "female"])
@pytest.mark.parametrize("mode", [0o700, 0o744])
def test_a_corpus_or_a_label_that_may_not_be_read_is_named(corpus: Path, open_folder: Path, name: str, mode: int) -> None:
    root = layouts.librispeech(corpus, open_folder / "corpus")
    locked = root
    if name == "female":
        (root / "SPEAKERS.TXT").unlink()
        (root / "tones").rename(root / name)
        (root / "male").mkdir()
        locked = root / name
    locked.chmod(mode if os.geteuid() == 0 else mode & 0o444)

    done = info(root)

    locked.chmod(0o755)
    said = done.stderr.replace("\n", " ")
    assert done.returncode == 2, said
    assert "cannot be read" in said and "(Permission denied)" in said
    assert str(locked) in said


def test_a_list_names_the_folder_that_may_not_be_read_and_the_files_in_it(corpus: Path, open_folder: Path) -> None:
    root = layouts.plain_csv(corpus, open_folder / "corpus")
    (root / "all of it").rename(root / "most of it")
    (root / "locked").mkdir()
    (root / "most of it/11-1-0000.flac").rename(root / "locked/11-1-0000.flac")
    table = root / "utterances.csv"
    table.write_text(table.read_text().replace("all of it/11-1-0000", "locked/11-1-0000").replace("all of it", "most of it"))
    (root / "locked").chmod(0o700 if os.geteuid() == 0 else 0)

    done = info(root)

    (root / "locked").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "locked: Permission denied" in done.stdout
    assert "locked/11-1-0000.flac: cannot be opened: Permission denied" in done.stdout


def test_predict_names_a_folder_that_may_not_be_read(open_folder: Path) -> None:
    for name in ("open", "locked"):
        (open_folder / "in" / name).mkdir(parents=True)
        (open_folder / "in" / name / "a.wav").touch()
    (open_folder / "in/locked").chmod(0o700 if os.geteuid() == 0 else 0)
    script = "import sys; from pipeline.recordings import find_recordings as f; print(list(f(sys.argv[1], print)))"
    done = as_nobody(sys.executable, "-c", script, open_folder / "in")
    (open_folder / "in/locked").chmod(0o755)
    said, found = done.stdout.splitlines()
    assert said == f"{open_folder}/in/locked: a folder that cannot be read (Permission denied)"
    assert found == f"['{open_folder}/in/open/a.wav']"


def test_links_are_followed_and_loops_are_told(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "linked").symlink_to("a/b")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "itself").symlink_to("itself")
    problems: list[OSError] = []

    found = list(files_below(tmp_path, problems.append))

    assert found == ["a/b/file", "itself", "linked/file", "nowhere"]
    assert [(item.errno, item.filename) for item in problems] == [
        (errno.ELOOP, "a/b/up"),
        (errno.ELOOP, "linked/up/b"),
    ]
    with pytest.raises(OSError, match="a link to a folder that it lies in"):
        list(files_below(tmp_path))


def test_the_order_is_that_of_paths_and_what_is_skipped_is_not_entered(tmp_path: Path) -> None:
    for name in ("b/1", "b.a", "a/2", "a/1", ".git/x", "._a", "B"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    everything = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert list(files_below(tmp_path)) == [path.relative_to(tmp_path).as_posix() for path in everything]
    assert list(files_below(tmp_path, skip=is_hidden)) == ["B", "a/1", "a/2", "b/1", "b.a"]


def test_there_is_no_other_walk() -> None:
    """Of a folder that people fill: `Path.glob`, `rglob` and `os.walk` pass over what they may not read."""
    walks = re.compile(r"rglob\(|os\.walk\(|\.glob\(f?\"[^\"]*(?:\*\*|\*/\*)")
    found = {
        f"{path.relative_to(ROOT).as_posix()}: {line.strip()}"
        for package in ("beam_jobs", "components", "pipeline")
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if walks.search(line)
    }
    assert {line.split(":")[0] for line in found} <= {
        "beam_jobs/folders.py",  # its docstring
        "components/code_digest.py",  # the program's own files
        "components/serving_check/probe.py",  # sizes of a model; nothing of this project may be imported there
        "components/pusher/provenance.py",
        "components/pusher/serving_folder.py",  # what was just written there
        "components/staging.py",  # a model or an artifact that the program wrote
        "pipeline/prune.py",  # sizes; it follows no link
    }, found


# Other endings, names and places.


@pytest.fixture
def libri(corpus: Path, tmp_path: Path) -> Path:
    return layouts.librispeech(corpus, tmp_path / "corpus")


def convert(path: Path, ending: str) -> Path:
    """The same recording under another ending, in its place."""
    target = path.with_suffix(ending)
    if ending.lower() == path.suffix:
        return path.rename(target)
    if ending.lower() in (".m4a", ".aac", ".opus"):
        subprocess.run(["ffmpeg", "-v", "error", "-i", path, target], check=True)
    else:
        soundfile.write(target, *soundfile.read(path), format=ending[1:].upper())
    path.unlink()
    return target


ENDINGS = [".FLAC", ".WAV", ".wav", ".Mp3", ".ogg", ".m4a"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["LibriSpeech", "VoxCeleb1"])
def test_other_endings_are_read(corpus: Path, tmp_path: Path, name: str, ending: str) -> None:
    if ending == ".m4a" and not ffmpeg_is_there():
        pytest.skip("no ffmpeg on the PATH (Debian: apt install ffmpeg)")
    make = {"LibriSpeech": layouts.librispeech, "VoxCeleb1": layouts.voxceleb}[name]
    root = make(corpus, tmp_path / "corpus")
    before = read_corpus(root)
    for utterance in before.speakers[0].utterances:
        convert(root / utterance.path, ending)

    index = read_corpus(root)

    assert [item.id for item in index.utterances()] == [item.id for item in before.utterances()]
    assert {Path(item.path).suffix for item in index.speakers[0].utterances} == {ending}
    assert (index.rejected, index.passed_over) == ((), ())


@pytest.mark.parametrize("delimiter", [" ,", ","])
def test_voxceleb2_is_read_where_its_archives_put_it(corpus: Path, tmp_path: Path, delimiter: str) -> None:
    if not ffmpeg_is_there():
        pytest.skip("no ffmpeg on the PATH (Debian: apt install ffmpeg)")
    root = layouts.voxceleb(corpus, tmp_path / "corpus")
    rows = [line.split("\t") for line in (root / "vox1_meta.csv").read_text().splitlines()]
    lines = [["VoxCeleb2 ID", "VGGFace2 ID", "Gender", "Set"], *([row[0], "n000001", row[2], row[4]] for row in rows[1:])]
    (root / "vox2_meta.csv").write_text("".join(delimiter.join(line) + f"{delimiter.rstrip(',')}\n" for line in lines))
    (root / "vox1_meta.csv").unlink()
    for subset, speakers in (("dev", "1[1-9]"), ("dev", "2[01]"), ("test", "22")):
        for folder in (root / "wav").glob(f"id{speakers}"):
            shutil.move(folder, root / subset / "aac" / folder.name)
    convert(root / "test/aac/id22/Ab-_9/00000.wav", ".m4a")

    index = read_corpus(root)

    assert {speaker.id[-2:]: speaker.label for speaker in index.speakers} == {
        str(id): "female" if str(id) in layouts.FEMALE else "male" for id in range(11, 23)
    }
    assert [speaker.id for speaker in read_corpus(root, ["test"]).speakers] == ["id22"]
    assert sum(1 for _ in index.utterances()) == 36 and not index.rejected


def test_what_is_no_part_of_the_corpus_is_named_or_counted(libri: Path) -> None:
    folder = libri / "tones/11/1"
    soundfile.write(folder / "11-1-0000.wav", *soundfile.read(folder / "11-1-0000.flac"))
    shutil.copy(folder / "11-1-0001.flac", libri / "tones/11/11-1-0009.flac")
    shutil.copy(folder / "11-1-0001.flac", folder / "wrong-name.flac")
    (folder / "11-1.trans.txt").touch()
    (libri / "README").touch()
    (folder / "11-1-0003.shn").touch()
    (folder / "11-1-0004.flac").symlink_to("gone.flac")
    (folder / "notes").symlink_to("gone")
    (folder / "up").symlink_to("..")

    index = read_corpus(libri)

    assert {item.path: item.reason for item in index.passed_over} == {
        "tones/11/1/11-1-0000.wav": "the same utterance as, in another format, tones/11/1/11-1-0000.flac",
        "tones/11/11-1-0009.flac": "not where the layout has recordings, <subset>/<speaker>/<chapter>/",
    }
    assert {item.path: item.reason for item in index.rejected} == {
        "tones/11/1/wrong-name.flac": "the name does not start with 11-1-, as its folders say",
        "tones/11/1/11-1-0004.flac": "cannot be opened: No such file or directory",
        "tones/11/1/notes": "a link that leads nowhere",
        "tones/11/1/up": "a link to a folder that it lies in",
    }
    assert index.other_files == {".shn": 1, ".txt": 1, "no ending": 1}


@pytest.mark.parametrize("name", ["LibriSpeech", "Common Voice", "VoxCeleb1", "CSV"])
def test_what_macos_writes_beside_each_file_is_no_recording(corpus: Path, tmp_path: Path, name: str) -> None:
    make: dict[str, Callable[[Path, Path], Path]] = {
        "LibriSpeech": layouts.librispeech,
        "Common Voice": layouts.common_voice,
        "VoxCeleb1": layouts.voxceleb,
        "CSV": layouts.plain_csv,
    }
    root = make[name](corpus, tmp_path / "corpus")
    before = read_corpus(root)
    for utterance in before.utterances():
        path = root / utterance.path
        path.with_name(f"._{path.name}").write_bytes(b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ")
    (root / ".DS_Store").touch()
    assert read_corpus(root) == before


def test_two_endings_are_two_recordings_where_a_list_says_so(corpus: Path, tmp_path: Path) -> None:
    root = layouts.plain_csv(corpus, tmp_path / "corpus")
    table = root / "utterances.csv"
    for number, ending in ((0, ".flac"), (3, ".mp3")):
        old = f"all of it/{11 + number // 3}-1-000{number % 3}{ending}"
        (root / old).rename(root / f"cut{ending}")
        table.write_text(table.read_text().replace(old, f"cut{ending}"))

    index = read_corpus(root)

    assert index.rejected == () and sum(1 for _ in index.utterances()) == 36
    assert {"cut.flac", "cut.mp3"} < {item.id for item in index.utterances()}


@pytest.mark.parametrize(("listed", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_name_is_the_same_name_however_it_is_spelt(
    corpus: Path, tmp_path: Path, listed: Literal["NFC", "NFD"], on_disk: Literal["NFC", "NFD"]
) -> None:
    root = layouts.plain_csv(corpus, tmp_path / "corpus")
    name = "Zoë café.flac"
    (root / "all of it/11-1-0000.flac").rename(root / unicodedata.normalize(on_disk, f"all of it/{name}"))
    table = root / "utterances.csv"
    lines = table.read_text().replace("11-1-0000.flac", unicodedata.normalize(listed, name)).splitlines(keepends=True)
    # The same person in two spellings: two speakers would put one voice into two splits.
    lines[2] = lines[2].replace("s11", unicodedata.normalize("NFC", "Zoë"))
    lines[3] = lines[3].replace("s11", unicodedata.normalize("NFD", "Zoë"))
    table.write_text("".join(lines))

    index = read_corpus(root)

    assert (index.rejected, index.passed_over) == ((), ())
    speakers = {speaker.id: len(speaker.utterances) for speaker in index.speakers}
    assert speakers["Zoë"] == 2 and speakers["s11"] == 1 and len(speakers) == 13


def test_a_speaker_folder_is_the_speaker_of_the_list_however_it_is_spelt(libri: Path) -> None:
    folder = libri / "tones" / unicodedata.normalize("NFD", "Zoë")
    (libri / "tones/11").rename(folder)
    for path in sorted((folder / "1").iterdir()):
        path.rename(path.with_name(path.name.replace("11-", unicodedata.normalize("NFD", "Zoë-"))))
    table = libri / "SPEAKERS.TXT"
    table.write_text(table.read_text().replace("11 | F", "Zoë | F"))
    index = read_corpus(libri)
    assert (index.unlisted, index.rejected) == ((), ()) and "Zoë" in {speaker.id for speaker in index.speakers}
