# SPDX-License-Identifier: Apache-2.0
"""Any corpus: each layout, made from the tone corpus, gives the same speakers under the same labels."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import layouts
import pytest
import soundfile

from beam_jobs import audio
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.left_out import left_out_lines
from beam_jobs.corpus.readers import read_corpus, recognise
from beam_jobs.corpus.splits import split_speakers
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips
from beam_jobs.sound_file import open_sound

FEMALE = set(layouts.FEMALE)
Layout = Callable[[Path, Path], Path]


@pytest.fixture(scope="module")
def roots(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each layout, to be read only."""
    folder = tmp_path_factory.mktemp("layouts")
    made = {
        "Common Voice": layouts.common_voice,
        "VoxCeleb1": layouts.voxceleb,
        "CSV": layouts.plain_csv,
        "LibriSpeech": layouts.librispeech,
    }
    return {name: make(corpus, folder / name) for name, make in made.items()}


@pytest.fixture
def own(roots: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a layout, to be spoilt."""
    return lambda name: Path(shutil.copytree(roots[name], tmp_path / name))


def labels(index: SpeakerIndex) -> dict[str, str]:
    return {speaker.id[-2:]: speaker.label for speaker in index.speakers}


def error_of(root: Path, subsets: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_corpus(root, subsets)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["LibriSpeech", "Common Voice", "VoxCeleb1", "CSV"])
def test_every_layout_is_recognised_and_read(roots: dict[str, Path], name: str) -> None:
    index = read_corpus(roots[name])

    assert recognise(roots[name]).name == name
    expected = {str(id): "female" if str(id) in FEMALE else "male" for id in range(11, 23)}
    if name == "Common Voice":
        del expected["14"]
    assert labels(index) == expected
    assert (index.unlisted, index.rejected) == ((), ())
    assert index.unlabelled == (("client14",) if name == "Common Voice" else ())
    for speaker in index.speakers:
        assert [round(item.duration_s, 1) for item in speaker.utterances] == [2, 3, 4]
        assert all((roots[name] / item.path).is_file() for item in speaker.utterances)


@pytest.mark.parametrize("name", ["Common Voice", "VoxCeleb1", "CSV"])
def test_clips_are_made_of_every_layout(roots: dict[str, Path], tmp_path: Path, make_config, name: str) -> None:
    info = generate_clips(make_config(), read_corpus(roots[name]), str(tmp_path / "clips"))
    assert info.rejected == 0


def test_ids_hold_no_white_space(roots: dict[str, Path]) -> None:
    # clips.csv separates them by spaces.
    for root in roots.values():
        assert all(item.id.split() == [item.id] for item in read_corpus(root).utterances())
    assert next(read_corpus(roots["CSV"]).utterances()).id == "all%20of%20it/11-1-0000"
    assert next(read_corpus(roots["VoxCeleb1"]).utterances()).id == "id11-Ab-_9-00000"
    assert next(read_corpus(roots["Common Voice"]).utterances()).id == "common_voice_en_11-1-0000"


# Recognition.


def test_where_two_readers_fit_both_are_named(own: Callable[[str], Path]) -> None:
    root = own("CSV")
    (root / "validated.tsv").touch()
    assert error_of(root) == (
        f"{root}: holds validated.tsv (Common Voice) and utterances.csv (CSV), but a corpus has one layout; "
        "move the other lists elsewhere"
    )


def test_where_none_fits_it_says_what_was_looked_for(tmp_path: Path) -> None:
    looked_for = (
        "SPEAKERS.TXT (LibriSpeech), validated.tsv (Common Voice), vox1_meta.csv (VoxCeleb1), vox2_meta.csv (VoxCeleb2), "
        "utterances.csv (CSV)"
    )
    assert f"looked for {looked_for}" in error_of(tmp_path)
    assert error_of(tmp_path / "nowhere").endswith(
        f"no such folder; name a corpus folder that holds {looked_for}, or recordings in a folder for each label"
    )


@pytest.mark.parametrize(("name", "there"), [("Common Voice", "validated"), ("VoxCeleb1", "dev, test"), ("CSV", "utterances")])
def test_a_subset_that_is_not_there_lists_those_that_are(roots: dict[str, Path], name: str, there: str) -> None:
    assert error_of(roots[name], ["train-clean-100"]).endswith(f"no subset 'train-clean-100'; present: {there}")


def test_the_sets_of_voxceleb_are_its_subsets(roots: dict[str, Path]) -> None:
    assert labels(read_corpus(roots["VoxCeleb1"], ["test"])) == {"22": "male"}


# Speakers without a usable label.


def change(root: Path, name: str, old: str, new: str) -> Path:
    path = root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return path


@pytest.mark.parametrize("gender", ["male_masculine", "other", "transgender"])
def test_a_client_of_two_genders_has_no_usable_label(own: Callable[[str], Path], gender: str) -> None:
    root = own("Common Voice")
    line = 'client15\tcommon_voice_en_15-1-0001.mp3\t\tHe said "no.\t\t'
    change(root, "validated.tsv", f"{line}female_feminine", f"{line}{gender}")

    index = read_corpus(root)

    assert index.unlabelled == ("client14", "client15") and "15" not in labels(index)


@pytest.mark.parametrize("gender", ["F", "x", "", "male"])
def test_voxcelebs_letters_alone_are_labels(own: Callable[[str], Path], gender: str) -> None:
    root = own("VoxCeleb1")
    change(root, "vox1_meta.csv", "id11\tSome_Body\tf", f"id11\tSome_Body\t{gender}")
    index = read_corpus(root)
    assert index.unlabelled == ("id11",) and "11" not in labels(index)


@pytest.mark.parametrize("label", ["femal", "diverse", "0"])
def test_any_other_word_in_a_csv_is_a_label_of_its_own(own: Callable[[str], Path], label: str) -> None:
    root = own("CSV")
    change(root, "utterances.csv", "s11,Female", f"s11,{label}")
    index = read_corpus(root)
    assert labels(index)["11"] == label
    wanted = index.with_labels(["male", "female"])
    assert "11" not in labels(wanted) and wanted.other_labels == {label: 1}
    assert f"left out: 1 label, with its speakers, not in clips.labels: {label} (1)" in left_out_lines(wanted)


def test_a_corpus_without_any_label_says_so(own: Callable[[str], Path]) -> None:
    root = own("VoxCeleb1")
    change(root, "vox1_meta.csv", "\tf\t", "\t\t")
    change(root, "vox1_meta.csv", "\tm\t", "\t?\t")
    assert "none of its 12 speakers ('id11', …) has a usable label in vox1_meta.csv" in error_of(root)


def test_a_folder_that_the_list_does_not_name_is_named(own: Callable[[str], Path]) -> None:
    root = own("VoxCeleb1")
    (root / "wav/id11").rename(root / "wav/id99")
    assert read_corpus(root).unlisted == ("wav/id99",)


# Lines that cannot be read.


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "expected"),
    [
        (
            "CSV",
            "utterances.csv",
            "path,speaker_id,label",
            "path;speaker_id;label",
            "1: expected a header with the columns path, ",
        ),
        ("CSV", "utterances.csv", "path,speaker_id,label", "path,path,label", "1: expected a header with the columns path, "),
        ("CSV", "utterances.csv", "path,", "p\xe4th,", "1: expected a header with the columns path, "),
        (
            "Common Voice",
            "validated.tsv",
            "\tgender\t",
            "\tsex\t",
            "1: expected a header with the columns client_id, path, gender",
        ),
        (
            "CSV",
            "utterances.csv",
            "11-1-0001.wav,s11,Female",
            "11-1-0001.wav,s11,m",
            "3: speaker 's11' is labelled 'male' here and 'female' in line 2; make both lines agree, or give "
            "--label-per-recording",
        ),
        (
            "VoxCeleb1",
            "vox1_meta.csv",
            "id12\t",
            "id11\t",
            "3: speaker 'id11' is listed twice, with different labels; delete",
        ),
    ],
)
def test_what_might_be_a_wrong_label_is_an_error(own, name: str, file: str, old: str, new: str, expected: str) -> None:
    root = own(name)
    change(root, file, old, new)
    assert error_of(root).startswith(f"{root / file}:{expected}")


@pytest.mark.parametrize(
    ("name", "old", "new", "where", "reason"),
    [
        (
            "CSV",
            "12-1-0000.mp3,s12,m",
            "12-1-0000.mp3,s12,m,f",
            "5",
            "4 fields, but the header has 3; fix or delete 'all of it/12",
        ),
        ("CSV", "all of it/11-1-0001.wav", '"all of it/11-1-0001.wav', "3", "unexpected end of data; fix"),
        ("CSV", "all of it/11-1-0001.wav", "/etc/passwd", "3", "'/etc/passwd' is not a path in the corpus"),
        ("CSV", "all of it/11-1-0001.wav", "a/../../b.wav", "3", "'a/../../b.wav' is not a path in the corpus"),
        ("CSV", "11-1-0001.wav", "./11-1-0000.flac", "3", "'all of it/11-1-0000.flac' is listed twice, first in line 2"),
        ("CSV", "11-1-0001.wav,s11", "11-1-0001.wav,Anna S", "3", "'Anna S' is not a valid speaker id; use a name"),
        (
            "CSV",
            "s12,m\n",
            "s12,m" + 200 * "x" + ",\n",
            "5",
            "4 fields, but the header has 3; fix or delete 'all of it/12-1-0000.mp3,s12,mx",
        ),
        ("Common Voice", "client12\tcommon_voice_en_12-1-0000.mp3", "client12", "5", "6 fields, but the header has 7"),
        (
            "Common Voice",
            "client12\tcommon_voice_en_12-1-0000.mp3",
            120 * "7",
            "5",
            f"6 fields, but the header has 7; fix or delete '{40 * '7'}'…",
        ),
        ("VoxCeleb1", "id12\t", "\t", "3", "'' is not a valid speaker id"),
        ("LibriSpeech", "12 | M", "12 ~ M", "3", "'12 ~ M' is not a valid speaker id"),
        ("LibriSpeech", "12 | M | tones | 0.15 | ", "11 | F | tones | 0.15 | ", "3", "speaker '11' is listed twice"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(own, name: str, old: str, new: str, where: str, reason: str) -> None:
    root = own(name)
    path = root / recognise(root).marker
    path.write_text(path.read_text().replace(old, new, 1))

    index = read_corpus(root)

    named = {item.path: item.reason for item in index.rejected}
    assert named[f"{path.name}:{where}"].startswith(reason)
    assert len(index.speakers) >= 10 and sum(1 for _ in index.utterances()) >= 30


def test_a_file_for_two_speakers_is_left_out(own: Callable[[str], Path]) -> None:
    root = own("Common Voice")
    change(root, "validated.tsv", "en_12-1-0000", "en_11-1-0000")
    index = read_corpus(root)
    assert [(item.path, item.reason) for item in index.rejected] == [
        ("clips/common_voice_en_11-1-0000.mp3", "listed for 'client11' in line 2 and for 'client12' in line 5")
    ]
    assert [item.path for item in index.passed_over] == ["clips/common_voice_en_12-1-0000.mp3"]


def test_a_line_that_is_no_utf8_is_named(own: Callable[[str], Path]) -> None:
    path = own("CSV") / "utterances.csv"
    path.write_bytes(path.read_bytes() + b"J\xf6rg.wav,s11,f\n")
    (rejected,) = read_corpus(path.parent).rejected
    assert (rejected.path, rejected.reason) == ("utterances.csv:38", "not UTF-8 text (byte 2); save the file as UTF-8")


def test_a_list_of_another_encoding_is_refused(own: Callable[[str], Path]) -> None:
    path = own("CSV") / "utterances.csv"
    path.write_bytes(path.read_text().encode("utf-16"))
    assert error_of(path.parent) == f"{path}:1: not UTF-8 text (byte 1); save the file as UTF-8"


def test_a_csv_saved_by_a_spreadsheet_reads_the_same(own: Callable[[str], Path]) -> None:
    root = own("CSV")
    before = read_corpus(root)
    path = root / "utterances.csv"
    rows = path.read_text().splitlines()
    quoted = ["notes," + rows[0], *('"a, b", "{}", {}, {} '.format(*row.split(",")) for row in rows[1:])]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(quoted).encode())
    assert read_corpus(root) == before


def test_an_empty_list_is_refused(own: Callable[[str], Path]) -> None:
    path = own("CSV") / "utterances.csv"
    path.write_text("\n\n")
    assert "empty; expected a header with the columns path, speaker_id, label" in error_of(path.parent)


def test_a_listed_file_that_is_not_there_is_rejected(own: Callable[[str], Path]) -> None:
    root = own("Common Voice")
    (root / "clips/common_voice_en_11-1-0000.mp3").unlink()
    (rejected,) = read_corpus(root).rejected
    assert rejected.path == "clips/common_voice_en_11-1-0000.mp3"
    assert rejected.reason == "cannot be opened: No such file or directory"


def test_a_file_that_only_ffmpeg_decodes_says_so_where_there_is_none(own, monkeypatch: pytest.MonkeyPatch) -> None:
    root = own("CSV")
    (root / "all of it/11-1-0000.flac").rename(root / "all of it/11-1-0000.m4a")
    change(root, "utterances.csv", "11-1-0000.flac", "11-1-0000.m4a")
    monkeypatch.setenv("PATH", str(root))
    (rejected,) = read_corpus(root).rejected
    assert rejected.reason == "needs ffmpeg, which is not installed (Debian: apt-get install ffmpeg)"


# Splits that the corpus fixes.


def test_a_csv_may_fix_splits(corpus: Path, tmp_path: Path) -> None:
    root = layouts.plain_csv(corpus, tmp_path / "csv", "path,speaker_id,label,split", ",")
    path = root / "utterances.csv"
    path.write_text(path.read_text().replace("s11,Female,", "s11,Female,test").replace("s12,m,", "s12,m,eval"))

    index = read_corpus(root)

    assert {speaker.id: speaker.split for speaker in index.speakers if speaker.split} == {"s11": "test", "s12": "eval"}
    for seed in range(5):
        splits = split_speakers(index.speakers, seed)
        assert "s11" in {speaker.id for speaker in splits["test"]}
        assert "s12" in {speaker.id for speaker in splits["eval"]}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("test", "speaker 's11' is in split 'test' here and 'train' in line 2; make both lines agree"),
    ],
)
def test_a_split_that_cannot_be(corpus: Path, tmp_path: Path, split: str, expected: str) -> None:
    root = layouts.plain_csv(corpus, tmp_path / "csv", "path,speaker_id,label,split", ",train")
    path = root / "utterances.csv"
    path.write_text(path.read_text().replace("11-1-0001.wav,s11,Female,train", f"11-1-0001.wav,s11,Female,{split}"))
    assert error_of(root) == f"{path}:3: {expected}"


# The cache of lengths.


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that libsndfile opens."""
    names: list[str] = []

    def spy(file):
        names.append(Path(file).name)
        return open_sound(file)

    monkeypatch.setattr(audio, "open_sound", spy)
    return names


def test_a_second_reading_opens_no_file(own, tmp_path: Path, opened: list[str]) -> None:
    root, cache = own("LibriSpeech"), tmp_path / "cache"
    first = read_corpus(root, cache=cache)
    assert len(opened) == 36

    opened.clear()
    assert read_corpus(root, cache=cache) == first == read_corpus(root)
    assert len(opened) == 36  # by the one without a cache


def test_a_file_that_changed_is_opened_again(own, tmp_path: Path, opened: list[str]) -> None:
    root, cache = own("LibriSpeech"), tmp_path / "cache"
    read_corpus(root, cache=cache)
    opened.clear()
    folder = root / "tones/11/1"
    shutil.copyfile(folder / "11-1-0002.flac", folder / "11-1-0000.flac")

    index = read_corpus(root, cache=cache)

    assert opened == ["11-1-0000.flac"]
    assert [item.duration_s for item in index.speakers[0].utterances] == [4, 3, 4]


def test_a_file_of_the_same_size_and_modification_time_is_opened_again(own, tmp_path: Path) -> None:
    """As after `cp -p`: here the same samples, said to be of half the rate."""
    root, cache = own("LibriSpeech"), tmp_path / "cache"
    path = root / "tones/11/1/11-1-0000.flac"
    samples, rate_hz = soundfile.read(path, dtype="int16")
    path.unlink()
    path = path.with_suffix(".wav")
    soundfile.write(path, samples, rate_hz)
    before, state = read_corpus(root, cache=cache), path.stat()
    soundfile.write(path, samples, rate_hz // 2)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)

    after = read_corpus(root, cache=cache)

    assert after == read_corpus(root)
    assert after.speakers[0].utterances[0].duration_s == 2 * before.speakers[0].utterances[0].duration_s


def test_labels_are_never_cached(own, tmp_path: Path) -> None:
    root, cache = own("LibriSpeech"), tmp_path / "cache"
    read_corpus(root, cache=cache)
    change(root, "SPEAKERS.TXT", "11 | F", "11 | M")
    assert labels(read_corpus(root, cache=cache))["11"] == "male"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": "0", "lengths": {}}'])
def test_a_damaged_cache_is_made_anew(own, tmp_path: Path, text: str, opened: list[str]) -> None:
    root, cache = own("LibriSpeech"), tmp_path / "cache"
    first = read_corpus(root, cache=cache)
    (file,) = cache.iterdir()
    file.write_text(text)
    assert read_corpus(root, cache=cache) == first
    opened.clear()
    read_corpus(root, cache=cache)
    assert not opened


def test_a_cache_that_cannot_be_written_is_one_line(roots: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match="cannot be written"):
        read_corpus(roots["CSV"], cache=tmp_path / "cache")


def test_a_name_that_is_no_utf8_is_rejected_in_words(own) -> None:
    root = own("LibriSpeech")
    folder = root / "tones/11/1"
    (folder / "11-1-0002.flac").rename(folder / "11-1-\udcff.flac")
    index = read_corpus(root)
    assert [(item.path, item.reason) for item in index.rejected] == [("tones/11/1/11-1-\\udcff.flac", "its name is not UTF-8")]
    assert SpeakerIndex.from_json(index.to_json(), "x") == index
