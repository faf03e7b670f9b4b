# SPDX-License-Identifier: Apache-2.0
"""Speakers are dealt out by label, each to exactly one split."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.corpus.index import Speaker, Utterance
from beam_jobs.corpus.splits import split_speakers
from beam_jobs.errors import UserError

seeds = st.integers(0, 2**32)
counts = st.fixed_dictionaries({"female": st.integers(3, 60), "male": st.integers(3, 60)}, optional={"child": st.integers(3, 20)})


def cast(counts: dict[str, int]) -> list[Speaker]:
    return [Speaker(f"{label}-{k}", label, "train", ()) for label, count in counts.items() for k in range(count)]


def ids(speakers: tuple[Speaker, ...], label: str) -> list[str]:
    return [speaker.id for speaker in speakers if speaker.label == label]


def test_a_hundred_speakers_are_cut_80_10_10() -> None:
    splits = split_speakers(cast({"female": 100, "male": 50}), seed=0)
    assert list(splits) == ["train", "eval", "test"]
    assert [len(ids(splits[split], "female")) for split in splits] == [80, 10, 10]
    assert [len(ids(splits[split], "male")) for split in splits] == [40, 5, 5]


@given(counts, seeds)
def test_every_speaker_is_in_exactly_one_split(counts: dict[str, int], seed: int) -> None:
    speakers = cast(counts)
    splits = split_speakers(speakers, seed)
    dealt = [speaker for split in splits.values() for speaker in split]
    assert sorted(dealt, key=lambda speaker: speaker.id) == sorted(speakers, key=lambda speaker: speaker.id)


@given(counts, seeds, st.sampled_from([(0.8, 0.1, 0.1), (0.98, 0.01, 0.01), (0.01, 0.01, 0.98), (0.3, 0.4, 0.3)]))
def test_every_split_has_every_label_and_about_its_share(
    counts: dict[str, int], seed: int, shares: tuple[float, float, float]
) -> None:
    splits = split_speakers(cast(counts), seed, shares)
    for label, count in counts.items():
        for split, share in zip(splits.values(), shares, strict=True):
            assert len(ids(split, label)) >= 1
            assert abs(len(ids(split, label)) - share * count) < 2


@given(counts, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_speakers_changes_nothing(counts: dict[str, int], seed: int, random) -> None:
    speakers = cast(counts)
    shuffled = random.sample(speakers, len(speakers))
    assert split_speakers(shuffled, seed) == split_speakers(speakers, seed)


@given(counts, seeds)
def test_another_label_changes_nothing_for_those_already_there(counts: dict[str, int], seed: int) -> None:
    before = split_speakers(cast(counts), seed)
    after = split_speakers(cast({"another": 5, **counts}), seed)
    for split in before:
        assert before[split] == tuple(speaker for speaker in after[split] if speaker.label != "another")


def test_another_seed_deals_otherwise() -> None:
    speakers = cast({"female": 50, "male": 50})
    assert split_speakers(speakers, seed=0) != split_speakers(speakers, seed=1)


def test_the_labels_are_shuffled_apart() -> None:
    train = split_speakers(cast({"female": 50, "male": 50}), seed=0)["train"]
    female = {id.removeprefix("female-") for id in ids(train, "female")}
    assert female != {id.removeprefix("male-") for id in ids(train, "male")}


def test_another_process_deals_the_same() -> None:
    program = (
        "from beam_jobs.corpus.index import Speaker; from beam_jobs.corpus.splits import split_speakers\n"
        "speakers = [Speaker(f'{l}-{k}', l, 'train', ()) for l in ('female', 'male') for k in range(20)]\n"
        "print(','.join(s.id for s in split_speakers(speakers, 7)['test']))"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    here = split_speakers(cast({"female": 20, "male": 20}), 7)["test"]
    assert output.strip() == ",".join(speaker.id for speaker in here)


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({"female": 2, "male": 9}, "2 female, 9 male"),
        ({"male": 9}, "0 female, 9 male"),
        ({"child": 1, "female": 3, "male": 3}, "1 child, 3 female, 3 male"),
        ({}, "0 female, 0 male"),
    ],
)
def test_too_few_speakers_of_a_label_are_counted(counts: dict[str, int], found: str) -> None:
    with pytest.raises(UserError, match=f"at least 3 speakers of each label and the corpus has {found}; add speakers"):
        split_speakers(cast(counts), seed=0)


def test_two_speakers_with_one_id_could_meet_in_two_splits() -> None:
    with pytest.raises(ValueError, match="there twice"):
        split_speakers(cast({"female": 3, "male": 3}) * 2, seed=0)


@given(st.lists(st.sets(st.sampled_from(["angry", "calm", "happy", "sad", "tired"]), min_size=1), min_size=1, max_size=60), seeds)
def test_who_has_recordings_of_several_labels_is_in_one_split_with_all(labels: list[set[str]], seed: int) -> None:
    actors = [
        Speaker(f"actor{k}", label, "acted", (Utterance(f"{k}-{label}", f"{k}-{label}.wav", 16_000, 16_000),))
        for k, several in enumerate(labels)
        for label in several
    ]
    wanted = sorted({actor.label for actor in actors})
    try:
        splits = split_speakers(actors, seed, labels=wanted)
    except UserError as error:
        assert re.search("at least 3 speakers of each label|gets no speaker with|is left for the split", str(error))
        return
    ids = [{speaker.id for speaker in members} for members in splits.values()]
    assert sum(map(len, ids)) == len(set.union(*ids)) == len(labels)
    assert all({speaker.label for speaker in members} == set(wanted) for members in splits.values())
    assert split_speakers(actors[::-1], seed, labels=wanted) == splits


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_shares_that_do_not_add_up_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="not three positive numbers of sum 1"):
        split_speakers(cast({"female": 3, "male": 3}), 0, shares)


@given(counts, seeds, st.lists(st.sampled_from(["train", "eval", "test", None]), min_size=140, max_size=140))
def test_a_speaker_stays_in_the_split_that_the_corpus_fixes(counts: dict[str, int], seed: int, fixed: list[str | None]) -> None:
    speakers = [replace(speaker, split=split) for speaker, split in zip(cast(counts), fixed, strict=False)]
    try:
        splits = split_speakers(speakers, seed)
    except UserError as error:
        assert "speaker is left for the split" in str(error)
        return
    for split, members in splits.items():
        assert {speaker.split for speaker in members} <= {split, None}
        assert {speaker.label for speaker in members} == set(counts)
    assert sum(map(len, splits.values())) == len(speakers)


def test_splits_that_are_all_fixed_must_have_every_label() -> None:
    speakers = [replace(speaker, split="train") for speaker in cast({"female": 5, "male": 5})]
    with pytest.raises(UserError, match="no female speaker is left for the split test"):
        split_speakers(speakers, seed=0)
