# SPDX-License-Identifier: Apache-2.0
"""The speaker index goes to JSON and back, and its fingerprint follows what is in it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.corpus.index import Rejected, Speaker, SpeakerIndex, Utterance
from beam_jobs.errors import UserError

LONG = Utterance("60-7-0000", "train/60/7/60-7-0000.flac", 32_000, 16_000)
SHORT = Utterance("60-7-0001", "train/60/7/60-7-0001.flac", 8_000, 16_000)
SPEAKER = Speaker("60", "male", "train", (LONG, SHORT))
INDEX = SpeakerIndex("/corpus", (SPEAKER,), ("train/999",), (Rejected("train/60/7/x.flac", "holds no samples"),))


def test_durations_are_in_seconds() -> None:
    assert (LONG.duration_s, SHORT.duration_s, SPEAKER.duration_s) == (2.0, 0.5, 2.5)


def test_all_utterances_in_order() -> None:
    assert list(INDEX.utterances()) == [LONG, SHORT]


words = st.text(max_size=8)
utterances = st.builds(Utterance, words, words, st.integers(1, 2**40), st.integers(1, 192_000))
speakers = st.builds(
    Speaker,
    words,
    st.sampled_from(["female", "male"]),
    words,
    st.lists(utterances, max_size=3).map(tuple),
    st.sampled_from([None, "train"]),
)
indexes = st.builds(
    SpeakerIndex,
    words,
    st.lists(speakers, max_size=3).map(tuple),
    st.lists(words, max_size=3).map(tuple),
    st.lists(st.builds(Rejected, words, words), max_size=3).map(tuple),
    st.lists(words, max_size=3).map(tuple),
)


@given(indexes)
def test_json_gives_back_the_same_index(index: SpeakerIndex) -> None:
    again = SpeakerIndex.from_json(index.to_json(), "index.json")
    assert again == index
    assert again.fingerprint() == index.fingerprint()


def test_the_fingerprint_is_the_same_wherever_the_corpus_lies() -> None:
    assert replace(INDEX, root="/elsewhere").fingerprint() == INDEX.fingerprint()


@pytest.mark.parametrize(
    "changed",
    [
        replace(SPEAKER, label="female"),
        replace(SPEAKER, split="test"),
        replace(SPEAKER, utterances=(LONG,)),
        replace(SPEAKER, utterances=(LONG, replace(SHORT, num_samples=8_001))),
    ],
)
def test_the_fingerprint_follows_the_content(changed: Speaker) -> None:
    assert replace(INDEX, speakers=(changed,)).fingerprint() != INDEX.fingerprint()


def test_an_index_from_before_splits_could_be_fixed_is_the_same() -> None:
    data = json.loads(INDEX.to_json())
    assert "split" not in data["speakers"][0]
    del data["unlabelled"]
    assert SpeakerIndex.from_json(json.dumps(data), "index.json") == INDEX
    assert INDEX.fingerprint() == "83bc35aa3cc395bfb0356e515e74f37d0d45abff9c44044d92e57108233afd50"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1}', '{"format_version": 1, "speakers": 3}'])
def test_a_text_that_is_no_index_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match=r"^index\.json: not a speaker index"):
        SpeakerIndex.from_json(text, "index.json")


def test_another_format_version_is_a_user_error() -> None:
    text = json.dumps({**json.loads(INDEX.to_json()), "format_version": 2})
    with pytest.raises(UserError, match=r"^index\.json: speaker index of format version 2"):
        SpeakerIndex.from_json(text, "index.json")
