# SPDX-License-Identifier: Apache-2.0
"""A corpus in LibriSpeech's layout becomes a speaker index, or one line that says what is wrong with it."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.librispeech import read_librispeech, read_speaker_list
from beam_jobs.errors import UserError

SPEAKERS = """\
; a comment
;ID  |SEX| SUBSET           |MINUTES| NAME
60   | M | train-clean-100  | 20.18 | |CBW|Simon
14   | F | dev              | 25.03 | Kristin

103  | F | train-clean-100  | 25.11 | Älys
"""


def write_flac(path: Path, num_samples: int = 1600, sample_rate_hz: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(-9000, 9000, num_samples, dtype=np.int16)
    soundfile.write(path, noise, sample_rate_hz, subtype="PCM_16")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Speakers 60 and 103 in train-clean-100, 14 in dev."""
    root = tmp_path / "corpus"
    write_flac(root / "train-clean-100/60/7/60-7-0001.flac", 3200)
    write_flac(root / "train-clean-100/60/7/60-7-0000.flac")
    write_flac(root / "train-clean-100/103/2/103-2-0000.flac")
    write_flac(root / "dev/14/1/14-1-0000.flac", 22_050, 22_050)
    (root / "SPEAKERS.TXT").write_text(SPEAKERS, encoding="utf-8")
    return root


def error_of(root: Path, subsets: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_librispeech(root, subsets)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_corpus_becomes_speakers_with_labels_and_utterances(root: Path) -> None:
    index = read_librispeech(root)

    assert [(speaker.id, speaker.label, speaker.subset) for speaker in index.speakers] == [
        ("103", "female", "train-clean-100"),
        ("14", "female", "dev"),
        ("60", "male", "train-clean-100"),
    ]
    short, long = index.speakers[2].utterances
    assert (short.id, short.path) == ("60-7-0000", "train-clean-100/60/7/60-7-0000.flac")
    assert (long.num_samples, long.sample_rate_hz, long.duration_s) == (3200, 16_000, 0.2)
    assert (index.root, index.unlisted, index.rejected) == (str(root), (), ())


def test_only_the_subsets_asked_for_are_read(root: Path) -> None:
    assert [speaker.id for speaker in read_librispeech(root, ["dev"]).speakers] == ["14"]


def test_a_relative_root_is_stored_absolute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    assert read_librispeech("corpus") == read_librispeech(root)


def test_progress_counts_every_file(root: Path) -> None:
    calls: list[tuple[int, int]] = []
    read_librispeech(root, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_folders_of_unknown_speakers_are_named_and_folders_without_audio_are_not(root: Path) -> None:
    write_flac(root / "dev/999/1/999-1-0000.flac")
    (root / "dev/1000/1").mkdir(parents=True)
    (root / "docs/images").mkdir(parents=True)

    index = read_librispeech(root)

    assert index.unlisted == ("dev/999",)
    assert len(index.speakers) == 3


def test_files_that_cannot_be_used_are_rejected_with_a_reason_and_the_run_goes_on(root: Path) -> None:
    folder = root / "train-clean-100/60/7"
    (folder / "60-7-0002.flac").write_bytes(b"no audio")
    (folder / "60-7-0003.flac").write_bytes(b"")
    soundfile.write(folder / "60-7-0004.flac", np.zeros(0, np.int16), 16_000, format="WAV")
    write_flac(folder / "60-7-0005.flac")
    forget_length(folder / "60-7-0005.flac")
    write_flac(folder / "14-7-0000.flac")

    index = read_librispeech(root)

    assert {rejected.path.split("/")[-1]: rejected.reason for rejected in index.rejected} == {
        "14-7-0000.flac": "the name does not start with 60-7-, as its folders say",
        "60-7-0002.flac": "cannot be decoded: it is a text file",
        "60-7-0003.flac": "cannot be decoded: the file is empty",
        "60-7-0004.flac": "holds no samples",
    }
    assert [utterance.id for utterance in index.speakers[2].utterances] == ["60-7-0000", "60-7-0001", "60-7-0005"]
    assert [utterance.num_samples for utterance in index.speakers[2].utterances] == [1600, 3200, 1600]


def forget_length(path: Path) -> None:
    """Sets the 36 bits of FLAC's STREAMINFO that count samples to 0, "unknown", as a streaming encoder does."""
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)


def test_a_speaker_without_a_usable_utterance_is_left_out(root: Path) -> None:
    (root / "dev/14/1/14-1-0000.flac").write_bytes(b"no audio")
    assert [speaker.id for speaker in read_librispeech(root).speakers] == ["103", "60"]


def test_a_speaker_in_two_subsets_is_one_speaker_and_a_copied_utterance_counts_once(root: Path) -> None:
    write_flac(root / "dev/60/7/60-7-0000.flac")
    write_flac(root / "dev/60/8/60-8-0000.flac")

    index = read_librispeech(root)

    speaker = index.speakers[2]
    assert (speaker.id, speaker.subset) == ("60", "dev")
    assert [utterance.id for utterance in speaker.utterances] == ["60-7-0000", "60-7-0001", "60-8-0000"]
    assert [rejected.reason for rejected in index.rejected] == [
        "the same utterance id as dev/60/7/60-7-0000.flac",
    ]


def test_a_missing_root_says_what_is_expected(tmp_path: Path) -> None:
    assert "no such folder; name a corpus folder that holds SPEAKERS.TXT" in error_of(tmp_path / "nowhere")


def test_a_missing_speaker_list_says_what_is_expected(root: Path) -> None:
    (root / "SPEAKERS.TXT").unlink()
    message = error_of(root)
    assert message.startswith(f"{root / 'SPEAKERS.TXT'}: No such file")
    assert "ID | SEX | SUBSET | MINUTES | NAME" in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"15 | F | dev | 3.00", "expected 'ID | SEX | SUBSET | MINUTES | NAME' and found '15 | F | dev | 3.00'"),
        (b" | F | dev | 3.00 | Nobody", "expected 'ID | SEX | SUBSET | MINUTES | NAME'"),
        (b"14 | F | dev | 3.00 | Kristin", "speaker '14' is listed twice"),
        (b"15 | F | dev | 3.00 | J\xf6rg", "not UTF-8 text"),
    ],
)
def test_a_bad_line_of_the_speaker_list_is_named_and_the_others_are_read(root: Path, line: bytes, expected: str) -> None:
    path = root / "SPEAKERS.TXT"
    path.write_bytes(SPEAKERS.encode() + line + b"\n")
    index = read_librispeech(root)
    assert len(index.speakers) == 3
    (rejected,) = index.rejected
    assert rejected.path == "SPEAKERS.TXT:7" and rejected.reason.startswith(expected)
    # Where two lists are joined, nothing may be lost of either.
    with pytest.raises(UserError) as caught:
        read_speaker_list(path)
    assert str(caught.value).startswith(f"{path}:7: {expected}")


@pytest.mark.parametrize("sex", ["X", "f", ""])
def test_a_speaker_of_another_sex_is_left_out_and_named(root: Path, sex: str) -> None:
    (root / "SPEAKERS.TXT").write_text(SPEAKERS.replace("14   | F |", f"14   | {sex} |"))
    index = read_librispeech(root)
    assert index.unlabelled == ("14",) and len(index.speakers) == 2


def test_a_speaker_under_two_labels_is_an_error(root: Path) -> None:
    (root / "SPEAKERS.TXT").write_text(SPEAKERS + "14 | M | dev | 3.00 | Kristin\n")
    assert error_of(root).startswith(f"{root / 'SPEAKERS.TXT'}:7: speaker '14' is listed twice, with different labels")


def test_a_speaker_list_saved_on_windows_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "SPEAKERS.TXT"
    path.write_bytes(b"\xef\xbb\xbf" + SPEAKERS.replace("\n", "\r\n").encode())
    assert read_speaker_list(path) == {"60": "male", "14": "female", "103": "female"}


@pytest.mark.parametrize("subset", ["dev-clean", "", "..", "dev/14"])
def test_a_subset_that_is_not_there_lists_those_that_are(root: Path, subset: str) -> None:
    assert error_of(root, ["dev", subset]) == f"{root}: no subset {subset!r}; present: dev, train-clean-100"


def test_a_corpus_without_usable_audio_says_why(tmp_path: Path) -> None:
    root = tmp_path
    (root / "SPEAKERS.TXT").write_text(SPEAKERS, encoding="utf-8")
    assert "no usable audio; expected <subset>/<speaker>/<chapter>/" in error_of(root)

    write_flac(root / "dev/999/1/999-1-0000.flac")
    assert "none of its 1 speaker folders (dev/999, …) is listed in SPEAKERS.TXT" in error_of(root)

    bad = root / "dev/14/1/14-1-0000.flac"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"no audio")
    assert "1 rejected, the first dev/14/1/14-1-0000.flac: cannot be decoded" in error_of(root, ["dev"])


@pytest.fixture(scope="module")
def real_root() -> Path:
    if not os.environ.get("LIBRISPEECH_ROOT"):
        pytest.skip("LIBRISPEECH_ROOT is not set: it names a folder with SPEAKERS.TXT and train-clean-100")
    return Path(os.environ["LIBRISPEECH_ROOT"])


@pytest.fixture(scope="module")
def real_index(real_root: Path) -> SpeakerIndex:
    return read_librispeech(real_root, ["train-clean-100"])


def test_train_clean_100_has_its_251_speakers(real_index: SpeakerIndex) -> None:
    labels = [speaker.label for speaker in real_index.speakers]
    assert (len(labels), labels.count("female"), labels.count("male")) == (251, 125, 126)
    assert (real_index.unlisted, real_index.rejected) == ((), ())
    assert {utterance.sample_rate_hz for utterance in real_index.utterances()} == {16_000}


def test_reader_60_whose_name_holds_bars_is_read(real_root: Path, real_index: SpeakerIndex) -> None:
    labels = read_speaker_list(real_root / "SPEAKERS.TXT")
    assert (len(labels), labels["60"]) == (2484, "male")
    assert "60" in {speaker.id for speaker in real_index.speakers}
