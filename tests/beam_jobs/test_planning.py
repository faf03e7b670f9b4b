# SPDX-License-Identifier: Apache-2.0
"""A plan follows from (seed, split, k) alone, and keeps what the settings promise."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.config import ClipsConfig, NumClips, Range
from beam_jobs.corpus.index import Speaker, Utterance
from beam_jobs.errors import UserError
from beam_jobs.labels import DEFAULT_LABELS
from beam_jobs.make_shard import Shard
from beam_jobs.planning import MODES, ClipPlan, ClipPlanner, Placement, class_index, count_classes
from beam_jobs.variants import TrainChannel, TrainVoice

NUM_CLIPS = NumClips(train=8, eval=2, test=2)


def utterance(id: str, duration_s: float, rate_hz: int = 16_000) -> Utterance:
    return Utterance(id, f"train/{id}.flac", round(duration_s * rate_hz), rate_hz)


def cast(duration_s: float = 4.0) -> tuple[Speaker, ...]:
    """Four speakers of each label with three utterances each, one of them at a rate of its own."""
    return tuple(
        Speaker(id, label, "train", tuple(utterance(f"{id}-{k}", duration_s + k, (16_000, 16_000, 44_100)[k]) for k in range(3)))
        for label in ("male", "female")
        for id in (f"{label}{number}" for number in range(4))
    )


LABEL_OF = {speaker.id: speaker.label for speaker in cast()}


def planner(split: str = "train", **settings: Any) -> ClipPlanner:
    return ClipPlanner(ClipsConfig(**{"num_clips": NUM_CLIPS, "duration_s": 10.0, **settings}), split, cast())


@st.composite
def configs(draw: Callable) -> ClipsConfig:
    """Settings that eight speakers with utterances of 4 to 6 s can meet."""
    few, many = sorted(draw(st.tuples(st.integers(2, 6), st.integers(2, 6))))
    short, long = sorted(draw(st.tuples(st.floats(0.3, 1), st.floats(0.3, 1))))
    soft, loud = sorted(draw(st.tuples(st.floats(-30, 0), st.floats(-30, 0))))
    return ClipsConfig(
        seed=draw(st.integers(0, 2**40)),
        duration_s=draw(st.floats(8, 30)),
        sample_rate_hz=draw(st.sampled_from([8_000, 11_025, 16_000, 22_050])),
        num_clips=NUM_CLIPS,
        simultaneous_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
        mixed_share=draw(st.sampled_from([0.0, 0.3])),
        min_utterances=few,
        max_utterances=many,
        gain_db=Range(min=soft, max=loud),
        length_share=Range(min=short, max=long),
        min_speech_s=draw(st.floats(0.1, 1)),
        train_speed=draw(st.sampled_from([Range(min=1, max=1), Range(min=0.8, max=1.25)])),
    )


def test_a_gain_from_zero_to_minus_zero_is_none() -> None:
    assert planner(gain_db=Range(min=0.0, max=-0.0)).plan(0).placements[0].gain_db == 0


plans = st.builds(
    lambda clips, k, split: (clips, ClipPlanner(clips, split, cast()).plan(k)),
    configs(),
    st.integers(0, 10**6),
    st.sampled_from(["train", "eval"]),
)


@given(plans)
def test_every_placement_lies_inside_its_file_and_its_clip(case: tuple[ClipsConfig, ClipPlan]) -> None:
    clips, plan = case

    assert plan.placements
    for placement in plan.placements:
        assert 0 <= placement.offset < placement.offset + placement.num_samples <= placement.utterance.num_samples
        stop_s = placement.start / clips.sample_rate_hz + placement.duration_s
        assert 0 <= placement.start < clips.num_samples
        assert stop_s <= clips.num_samples / clips.sample_rate_hz + 1e-9
        assert clips.gain_db.min <= placement.gain_db <= clips.gain_db.max


@given(plans)
def test_the_number_of_utterances_and_their_labels(case: tuple[ClipsConfig, ClipPlan]) -> None:
    clips, plan = case
    labels = {LABEL_OF[placement.speaker_id] for placement in plan.placements}

    assert [clips.classes[placement.label] for placement in plan.placements] == [
        LABEL_OF[placement.speaker_id] for placement in plan.placements
    ]
    assert labels == ({"male", "female"} if clips.classes[plan.label] == "mixed" else {clips.classes[plan.label]})
    assert len(plan.placements) <= clips.max_utterances
    if plan.mode == "simultaneous":
        assert len(plan.placements) >= clips.min_utterances


@given(plans)
def test_each_label_of_a_clip_is_heard_long_enough(case: tuple[ClipsConfig, ClipPlan]) -> None:
    """A second voice of a tenth of a second, cut by the clip's end, would make a `mixed` that nobody can hear."""
    clips, plan = case
    heard_s: dict[int, float] = defaultdict(float)
    for placement in plan.placements:
        heard_s[placement.label] += placement.duration_s

    assert all(seconds >= clips.min_speech_s for seconds in heard_s.values())


@given(plans)
def test_simultaneous_voices_start_together_and_sequential_ones_pause(case: tuple[ClipsConfig, ClipPlan]) -> None:
    clips, plan = case
    starts_s = [placement.start / clips.sample_rate_hz for placement in plan.placements]
    lengths_s = [placement.duration_s for placement in plan.placements]

    assert starts_s[0] == 0
    if plan.mode == "simultaneous":
        assert set(starts_s) == {0}
    else:
        pauses = [after - before - length for (before, after), length in zip(pairwise(starts_s), lengths_s, strict=False)]
        assert all(-1e-3 <= pause <= 5 + 1e-3 for pause in pauses)
    assert plan.mode in MODES
    assert clips.simultaneous_share == 0.5 or plan.mode == MODES[int(clips.simultaneous_share == 0)]


@given(plans)
def test_utterances_cover_at_least_as_much_as_is_asked_for(case: tuple[ClipsConfig, ClipPlan]) -> None:
    clips, plan = case
    step_hz = 1000
    covered: set[int] = set()
    for placement in plan.placements:
        start_s = placement.start / clips.sample_rate_hz
        stop_s = start_s + placement.duration_s
        covered |= set(range(round(start_s * step_hz), round(stop_s * step_hz)))

    assert plan.coverage == pytest.approx(len(covered) / step_hz / clips.duration_s, abs=0.01)
    assert clips.min_speech_s / clips.duration_s <= plan.coverage <= 1


def test_voices_of_training_alone_are_played_at_other_speeds() -> None:
    settings = {"train_speed": Range(min=0.8, max=1.25)}
    speeds = {
        split: [placement.speed for k in range(50) for placement in planner(split, **settings).plan(k).placements]
        for split in ("train", "eval", "test")
    }

    assert all(0.8 <= speed <= 1.25 for speed in speeds["train"])
    assert min(speeds["train"]) < 0.85
    assert max(speeds["train"]) > 1.2
    assert set(speeds["eval"] + speeds["test"]) == {1.0}


VARIED: dict[str, Any] = {"train_voice": TrainVoice(), "train_channel": TrainChannel()}


def placements_of(split: str = "train", number: int = 100, **settings: Any) -> list[Placement]:
    return [placement for k in range(number) for placement in planner(split, **settings).plan(k).placements]


def test_voices_and_channels_of_training_alone_are_changed() -> None:
    varied = placements_of(**VARIED)

    assert 0.6 < sum(placement.voice is not None for placement in varied) / len(varied) < 0.8
    assert 0.4 < sum(placement.channel is not None for placement in varied) / len(varied) < 0.6
    for split in ("eval", "test"):
        assert placements_of(split, **VARIED) == placements_of(split)


def test_changed_voices_are_the_same_voices_in_the_same_places() -> None:
    varied = placements_of(**VARIED)

    assert [replace(placement, voice=None, channel=None) for placement in varied] == placements_of()
    assert [placement.voice for placement in varied] == [placement.voice for placement in placements_of(train_voice=TrainVoice())]
    assert [placement.channel for placement in varied] == [
        placement.channel for placement in placements_of(train_channel=TrainChannel())
    ]


def test_the_pitch_is_drawn_by_label() -> None:
    voices = {
        label: [p.voice for p in placements_of(**VARIED) if p.voice and LABEL_OF[p.speaker_id] == label]
        for label in DEFAULT_LABELS
    }

    assert min(voice.pitch_hz for voice in voices["female"]) >= 135
    assert max(voice.pitch_hz for voice in voices["male"]) <= 420
    assert len({voice for several in voices.values() for voice in several}) == sum(map(len, voices.values()))


@given(st.integers(0, 10**6), st.lists(st.integers(0, 1000), max_size=5))
def test_a_changed_clip_s_plan_follows_from_its_number_alone(k: int, others: list[int]) -> None:
    busy = planner(**VARIED)
    for other in others:
        busy.plan(other)

    assert busy.plan(k) == planner(**VARIED).plan(k)


def test_plans_of_settings_as_they_were_are_what_they_were() -> None:
    """Those of datasets of format version 2: another version must follow where they change."""
    plans = [
        (
            plan.id,
            plan.label,
            plan.mode,
            plan.draws,
            p.speaker_id,
            p.utterance.id,
            p.offset,
            p.num_samples,
            p.start,
            p.gain_db,
            p.speed,
        )
        for plan in (planner(mixed_share=0.2, train_speed=Range(min=0.9, max=1.1)).plan(k) for k in range(50))
        for p in plan.placements
    ]

    assert hashlib.sha256(repr(plans).encode()).hexdigest() == "ee9c46ca9c1ec42714921190661a2047e1dcb523dcbef933a431c4bf9b85c55c"


@given(st.integers(0, 10**6), st.lists(st.integers(0, 1000), max_size=5))
def test_what_else_is_planned_changes_nothing(k: int, others: list[int]) -> None:
    alone = planner().plan(k)

    busy = planner()
    for other in others:
        busy.plan(other)
    assert busy.plan(k) == alone


def test_the_number_of_clips_changes_no_plan() -> None:
    few = planner(mixed_share=0.2)
    many = planner(mixed_share=0.2, num_clips=NumClips(train=10**6, eval=9, test=9), clips_per_shard=7)

    assert [few.plan(k) for k in range(50)] == [many.plan(k) for k in range(50)]


def test_seed_split_and_number_each_make_another_clip() -> None:
    placements = [
        planner().plan(0).placements,
        planner().plan(1).placements,
        planner("eval").plan(0).placements,
        planner(seed=1).plan(0).placements,
    ]

    assert len(set(placements)) == 4
    assert planner("eval").plan(12).id == "eval-0000012"


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(1, 200), st.sampled_from([0.0, 0.25, 1 / 3, 0.9]))
def test_any_stretch_of_clips_is_balanced(seed: int, first: int, number: int, mixed_share: float) -> None:
    clips = ClipsConfig(seed=seed, num_clips=NUM_CLIPS, mixed_share=mixed_share)
    single = (1 - mixed_share) / 2

    counts = Counter(class_index(clips, "train", k) for k in range(first, first + number))

    for label, share in enumerate((single, single, mixed_share)):
        assert abs(counts[label] - share * number) <= (4 if mixed_share else 1)


NUM_SHARDS = [*range(1, 61), 89, 144, 150, 233, 377, 610]


@pytest.mark.parametrize("clips_per_shard", [48, 50, 55, 64])
def test_every_shard_is_balanced_for_any_number_of_shards(clips_per_shard: int) -> None:
    """Also for Fibonacci numbers, whose multiples of the golden ratio are nearly whole."""
    clips = ClipsConfig(num_clips=NUM_CLIPS)
    label = [class_index(clips, "train", k) for k in range(max(NUM_SHARDS) * clips_per_shard)]

    for of in NUM_SHARDS:
        for number in range(of):
            held = Shard("", "", "train", number, of).clips(of * clips_per_shard)
            assert abs(2 * sum(label[k] for k in held) - len(held)) <= 2, (of, number)


@given(st.integers(1, 300), st.integers(1, 40))
def test_every_clip_is_in_one_shard(num_clips: int, clips_per_shard: int) -> None:
    of = -(-num_clips // clips_per_shard)
    held = [Shard("", "", "train", number, of).clips(num_clips) for number in range(of)]

    assert [k for numbers in held for k in numbers] == list(range(num_clips))
    assert 1 <= min(map(len, held)) <= max(map(len, held)) <= min(clips_per_shard, min(map(len, held)) + 1)


@pytest.mark.parametrize("workers", [2, 3, 5, 8, 13, 21, 34])
def test_each_of_several_workers_that_share_a_shard_reads_both_labels(workers: int) -> None:
    """Each reads every so manieth record: of the golden ratio's multiples it would hear one label for a long time."""
    clips = ClipsConfig(num_clips=NUM_CLIPS)
    label = [class_index(clips, "train", k) for k in range(16 * 100 * workers)]

    batches = [sum(label[number::workers][start : start + 16]) for number in range(workers) for start in range(0, 1600, 16)]

    assert sum(not 2 < female < 14 for female in batches) / len(batches) < 0.01


@pytest.mark.parametrize("mixed_share", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("number", [1, 2, 7, 1_000, 1_001])
def test_classes_are_counted_without_dealing_them(mixed_share: float, number: int) -> None:
    clips = ClipsConfig(num_clips=NumClips(train=number, eval=1, test=1), mixed_share=mixed_share)
    dealt = Counter(clips.classes[class_index(clips, "train", k)] for k in range(number))

    assert count_classes(clips, "train") == {name: dealt[name] for name in clips.classes}


def test_both_modes_come_in_their_shares() -> None:
    modes = Counter(planner(simultaneous_share=0.25).plan(k).mode for k in range(400))

    assert 70 <= modes["simultaneous"] <= 130


def test_everybody_speaks_before_anybody_speaks_twice() -> None:
    split = planner(min_utterances=4, max_utterances=4, simultaneous_share=1.0)

    assert all(len({placement.speaker_id for placement in split.plan(k).placements}) == 4 for k in range(20))


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([0.0, 0.5]))
def test_no_utterance_is_twice_in_a_clip(k: int, speakers_of_a_label: int, mixed_share: float) -> None:
    few = [speaker for label in DEFAULT_LABELS for speaker in [s for s in cast() if s.label == label][:speakers_of_a_label]]
    clips = ClipsConfig(num_clips=NUM_CLIPS, duration_s=30, max_utterances=3 * speakers_of_a_label, mixed_share=mixed_share)

    said = [placement.utterance.id for placement in ClipPlanner(clips, "eval", few).plan(k).placements]

    assert len(said) == len(set(said))


def test_a_split_with_fewer_utterances_than_a_clip_may_hold() -> None:
    one_each = [replace(speaker, utterances=speaker.utterances[:1]) for speaker in (cast()[0], *cast()[4:])]

    with pytest.raises(UserError) as caught:
        ClipPlanner(ClipsConfig(num_clips=NUM_CLIPS), "eval", one_each)

    assert str(caught.value) == (
        "split eval has 1 male speaker with 1 utterance, and a clip may hold 6, none of them twice; use a larger corpus or lower "
        "clips.max_utterances to 1"
    )


def test_unusable_utterances_are_drawn_around() -> None:
    split = planner()
    plan = split.plan(5)
    bad = {plan.placements[0].utterance.id}

    again = split.plan(5, bad)

    assert again.draws > plan.draws
    assert (again.id, again.label) == (plan.id, plan.label)
    assert not bad & {placement.utterance.id for placement in again.placements}
    assert split.plan(5, {"another"}) == plan


def test_speech_that_the_corpus_cannot_give() -> None:
    split = planner(duration_s=60.0, min_speech_s=50.0, max_utterances=2)

    with pytest.raises(UserError, match=r"clip 0 of split train was drawn 1000 times without 50 s of utterances; lower clips"):
        split.plan(0)


def test_a_split_without_a_label() -> None:
    with pytest.raises(UserError, match="split eval has no female speaker"):
        ClipPlanner(ClipsConfig(num_clips=NUM_CLIPS), "eval", cast()[:4])
