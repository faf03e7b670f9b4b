# SPDX-License-Identifier: Apache-2.0
"""Mixing adds up, stays in range and measures what it made."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beam_jobs.mixing import (
    Samples,
    active_level_db,
    add_up,
    balance,
    block_energies,
    db_to_amplitude,
    limit,
    match_level,
    rms_dbfs,
    to_pcm16,
)
from beam_jobs.silence import LEVEL_FLOOR_DBFS, LEVEL_FLOOR_POWER

samples = hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(-1, 1, width=32))


def mix(segments: Iterable[tuple[int, Samples]], num_samples: int) -> Samples:
    return limit(add_up(segments, num_samples))


segments = st.lists(st.tuples(st.integers(0, 120), samples), max_size=6)


@pytest.mark.parametrize(("gain_db", "amplitude"), [(0, 1), (-6.0206, 0.5), (-20, 0.1), (20, 10)])
def test_gains_are_of_amplitude(gain_db: float, amplitude: float) -> None:
    assert db_to_amplitude(gain_db) == pytest.approx(amplitude, rel=1e-5)


def test_a_level_is_matched_and_silence_cannot_be() -> None:
    loud, soft = np.array([0.5, -0.5], np.float32), np.array([0.03, 0.01, 0.0], np.float32)

    matched = match_level(soft, loud)

    assert np.sqrt(np.mean(matched**2)) == pytest.approx(0.5)
    assert matched[0] == pytest.approx(3 * matched[1])
    assert match_level(np.zeros(3, np.float32), loud) is loud


def test_segments_add_up_where_they_overlap() -> None:
    half = np.full(3, 0.25, np.float32)

    assert mix([(0, half), (2, half)], 6).tolist() == [0.25, 0.25, 0.5, 0.25, 0.25, 0]


def test_what_reaches_over_the_end_is_cut() -> None:
    assert mix([(2, np.full(9, 0.25, np.float32)), (7, np.ones(3, np.float32))], 4).tolist() == [0, 0, 0.25, 0.25]


def test_no_segments_are_silence() -> None:
    assert mix([], 3).tolist() == [0, 0, 0]


def test_a_loud_sum_is_scaled_as_a_whole() -> None:
    quiet, loud = mix([(0, np.array([0.5, -0.9], np.float32))] * 3, 2)

    assert loud == pytest.approx(-1, abs=1e-4)
    assert quiet / loud == pytest.approx(0.5 / -0.9, rel=1e-6)


@given(segments, st.integers(0, 100))
def test_a_mix_has_the_length_asked_for_and_is_never_clipped(segments: list, num_samples: int) -> None:
    mixed = mix(segments, num_samples)

    assert (mixed.dtype, len(mixed)) == (np.float32, num_samples)
    pcm16 = to_pcm16(mixed)
    assert pcm16.dtype == np.int16
    assert np.abs(pcm16 - mixed.astype(np.float64) * 32768).max(initial=0) <= 0.5


@given(segments)
def test_the_inputs_stay_as_they_were(segments: list) -> None:
    before = [part.copy() for _, part in segments]

    mix(segments, 100)

    assert all(np.array_equal(part, copy) for (_, part), copy in zip(segments, before, strict=True))


def level_dbfs(pcm16: np.ndarray) -> float:
    return rms_dbfs(block_energies(pcm16, 70).sum(), len(pcm16))


def test_levels_are_relative_to_full_scale() -> None:
    square = np.tile(np.array([16384, -16384], np.int16), 100)
    sine = to_pcm16(np.sin(2 * np.pi * np.arange(1000) / 100).astype(np.float32) * np.float32(0.9999))

    assert level_dbfs(square) == pytest.approx(-6.0206, abs=1e-4)
    assert level_dbfs(sine) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("length", [0, 1, 1000])
def test_silence_has_a_floor(length: int) -> None:
    assert level_dbfs(np.zeros(length, np.int16)) == LEVEL_FLOOR_DBFS == 10 * np.log10(LEVEL_FLOOR_POWER)


@given(hnp.arrays(np.int16, st.integers(1, 100)), st.randoms(use_true_random=False))
def test_the_level_does_not_depend_on_the_order_of_summing(pcm16: np.ndarray, random) -> None:
    shuffled = pcm16.copy()
    random.shuffle(shuffled)

    assert level_dbfs(shuffled) == level_dbfs(pcm16)
    assert LEVEL_FLOOR_DBFS <= level_dbfs(pcm16) <= 0


@given(st.lists(st.floats(-60, 0), min_size=2, max_size=3), st.floats(0, 20))
def test_voices_are_balanced_by_making_the_louder_ones_softer(levels_db: list[float], balance_db: float) -> None:
    voices = [np.random.default_rng(0).uniform(-1, 1, 4_000).astype(np.float32) * db_to_amplitude(db) for db in levels_db]
    before = [active_level_db(samples, 8_000) for samples in voices]

    balance(voices, 8_000, balance_db)

    after = [active_level_db(samples, 8_000) for samples in voices]
    assert max(after) - min(after) <= balance_db + 1e-3
    assert min(after) == pytest.approx(min(before), abs=1e-3)
    assert all(now <= then + 1e-3 for now, then in zip(after, before, strict=True))


def test_the_level_of_a_voice_is_that_while_it_is_heard() -> None:
    voice = np.zeros(16_000, np.float32)
    voice[3_200:6_400] = np.random.default_rng(0).uniform(-0.5, 0.5, 3_200)

    assert active_level_db(voice, 8_000) == pytest.approx(10 * np.log10(0.25 / 3), abs=0.1)
    assert active_level_db(np.zeros(16_000, np.float32), 8_000) == LEVEL_FLOOR_DBFS
