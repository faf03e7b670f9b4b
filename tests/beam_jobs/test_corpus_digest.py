"""What tells one corpus from another, wherever it lies."""

import shutil
from pathlib import Path

import pytest
import soundfile

from beam_jobs.corpus.digest import SAMPLED_BYTES, SAMPLED_FILES, corpus_digest
from beam_jobs.corpus.index import Speaker, SpeakerIndex, Utterance
from beam_jobs.corpus.librispeech import read_librispeech


def test_it_is_the_same_wherever_the_corpus_lies(index: SpeakerIndex, own_corpus: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(own_corpus, tmp_path / "moved")  # with other modification times

    assert corpus_digest(read_librispeech(moved)) == corpus_digest(read_librispeech(own_corpus)) == corpus_digest(index)


def test_a_corpus_that_was_denoised_keeps_names_and_lengths_and_is_another(index: SpeakerIndex, own_corpus: Path) -> None:
    for path in own_corpus.rglob("*.flac"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, 0.5 * samples, rate, subtype="PCM_16")

    treated = read_librispeech(own_corpus)

    assert treated.fingerprint() == index.fingerprint()
    assert corpus_digest(treated) != corpus_digest(index)


@pytest.mark.parametrize("number", [1, SAMPLED_FILES - 1, SAMPLED_FILES, SAMPLED_FILES + 1, 5 * SAMPLED_FILES])
def test_of_a_large_corpus_it_reads_a_sample_from_all_over_it(tmp_path: Path, number: int) -> None:
    utterances = tuple(Utterance(f"{k:04d}", f"a/{k:04d}.wav", 16_000, 16_000) for k in range(number))
    index = SpeakerIndex(str(tmp_path), (Speaker("1", "female", "train", utterances),))
    (tmp_path / "a").mkdir()
    for utterance in utterances:
        (tmp_path / utterance.path).write_bytes(b"audio")
    before = corpus_digest(index)

    changed = []
    for utterance in utterances:
        (tmp_path / utterance.path).write_bytes(b"other")
        changed.append(corpus_digest(index) != before)
        (tmp_path / utterance.path).write_bytes(b"audio")

    step = -(-number // SAMPLED_FILES)
    assert changed == [k % step == 0 for k in range(number)]


def test_of_a_long_file_it_reads_the_beginning(tmp_path: Path) -> None:
    index = SpeakerIndex(str(tmp_path), (Speaker("1", "female", "train", (Utterance("1", "1.wav", 16_000, 16_000),)),))
    content = bytearray(SAMPLED_BYTES + 1000)
    digests = []
    for changed in (None, -1, 0):
        if changed is not None:
            content[changed] = 1
        (tmp_path / "1.wav").write_bytes(content)
        digests.append(corpus_digest(index))
    assert digests[0] == digests[1] != digests[2]
