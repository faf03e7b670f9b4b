# SPDX-License-Identifier: Apache-2.0
"""A channel does what was drawn: reverberation by Schroeder's method, mu-law as Python's audioop has it."""

import audioop
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from beam_jobs.channel import Channel, Codec, Room, apply_channel, draw_channel, room_response
from beam_jobs.variants import TrainChannel

RATE_HZ = 16_000
ROOM = Room(rt60_s=0.5, direct_to_reverberant_db=5, pre_delay_s=0.004, low_pass_hz=3_000, seed=7)
MP3 = Codec("mp3", 8_000, 0.5, 0.9)
MU_LAW = Codec("mu_law", 8_000, 0.3)
WHOLE = Channel(ROOM, 0.95, MP3)


def with_room(**changes: Any) -> Room:
    return Room(**{**{name: getattr(ROOM, name) for name in Room.__slots__}, **changes})


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def reverberation_time(response: np.ndarray) -> float:
    """RT60 after ISO 3382: a line through the backward-integrated energy from -5 to -35 dB."""
    decay = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2))
    first, last = np.argmax(decay < -5), np.argmax(decay < -35)
    return -60 / (np.polyfit(np.arange(first, last) / RATE_HZ, decay[first:last], 1)[0])


@pytest.fixture
def speech(make_tone: Callable[..., np.ndarray]) -> np.ndarray:
    samples = make_tone(140, 2.0)
    return samples * np.repeat([1, 0.05, 0.6, 0.02], 8_000).astype(np.float32)


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 0.9])
def test_a_room_reverberates_as_long_as_it_says(rt60_s: float) -> None:
    times = [reverberation_time(room_response(with_room(rt60_s=rt60_s, seed=seed), RATE_HZ)[1:]) for seed in range(5)]

    assert np.mean(times) == pytest.approx(rt60_s, rel=0.1)


def test_a_room_s_direct_sound_delay_and_colour() -> None:
    response = room_response(ROOM, RATE_HZ)

    assert response[0] == 1
    assert not response[1:64].any()
    assert response[64:].any()
    assert -10 * np.log10(np.sum(response[1:] ** 2)) == pytest.approx(5, abs=0.01)
    power, frequency = np.abs(np.fft.rfft(response[1:])) ** 2, np.fft.rfftfreq(len(response) - 1, 1 / RATE_HZ)
    low, high = power[frequency < 1000].mean(), power[(frequency > 5500) & (frequency < 6500)].mean()
    assert 10 * np.log10(low / high) == pytest.approx(7, abs=1.5)  # of the first order at an octave above its corner


def test_a_room_sounds_on_where_the_voice_pauses(speech: np.ndarray) -> None:
    room = Channel(room=with_room(direct_to_reverberant_db=-3))

    changed = apply_channel(speech, RATE_HZ, room)

    assert level(changed[8_000:10_000]) > 3 * level(speech[8_000:10_000])


def test_clipping_takes_the_share_of_samples_that_it_says(speech: np.ndarray) -> None:
    changed = apply_channel(speech, RATE_HZ, Channel(clipping_quantile=0.9))

    assert np.mean(np.abs(changed) > 0.9999 * np.abs(changed).max()) == pytest.approx(0.1, abs=0.005)


def test_a_recording_that_is_mostly_silence_is_not_clipped_to_silence(speech: np.ndarray) -> None:
    quiet = np.concatenate([np.zeros(20 * RATE_HZ, np.float32), speech])

    changed = apply_channel(quiet, RATE_HZ, Channel(clipping_quantile=0.9))

    assert level(changed) == pytest.approx(level(quiet), rel=1e-3)


def test_mu_law_is_that_of_the_telephone(speech: np.ndarray) -> None:
    narrow = speech[::2]  # at 8 kHz the channel resamples nothing
    peak = np.abs(narrow).max()

    changed = apply_channel(narrow, 8_000, Channel(codec=MU_LAW))

    pcm = np.rint(narrow * (0.3 / peak) * 32768).astype(np.int16)
    referee = np.frombuffer(audioop.ulaw2lin(audioop.lin2ulaw(pcm.tobytes(), 2), 2), np.int16) / 32768
    referee *= level(narrow) / level(referee)
    # One rounds to 14 bits where the other cuts off: next to a border they differ by one step.
    assert np.mean(np.abs(changed - referee) < 1e-5) > 0.85
    assert changed == pytest.approx(referee, rel=0.13, abs=5e-4)


@pytest.mark.parametrize("codec", [MP3, Codec("mp3", 16_000, 0.5, 0.5), MU_LAW], ids=str)
def test_a_codec_keeps_time_and_cuts_its_band(speech: np.ndarray, codec: Codec) -> None:
    changed = apply_channel(speech, RATE_HZ, Channel(codec=codec))

    size = 2 * len(speech)
    correlation = np.fft.irfft(np.fft.rfft(changed, size) * np.conj(np.fft.rfft(speech, size)))
    assert np.argmax(correlation) == 0
    assert correlation[0] / len(speech) > 0.9 * level(speech) * level(changed)
    above = np.abs(np.fft.rfft(changed))[int(0.55 * len(speech) / 2) :]
    if codec.sample_rate_hz == 8_000:
        assert np.sum(above**2) < 1e-4 * np.sum(np.abs(np.fft.rfft(changed)) ** 2)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 48_000])
@pytest.mark.parametrize("num_samples", [1, 2, 100, 7_777, 32_000])
@pytest.mark.parametrize("codec", [None, MP3, MU_LAW], ids=str)
def test_length_and_level_stay(speech: np.ndarray, num_samples: int, codec: Codec | None, rate_hz: int) -> None:
    samples = speech[:num_samples]

    changed = apply_channel(samples, rate_hz, Channel(ROOM, 0.95, codec))

    assert (changed.dtype, len(changed)) == (np.float32, num_samples)
    assert level(changed) == pytest.approx(level(samples), rel=1e-3)


def test_silence_stays_silence() -> None:
    assert not apply_channel(np.zeros(4_000, np.float32), RATE_HZ, WHOLE).any()


def test_the_same_room_again_is_the_same_and_another_seed_is_another(speech: np.ndarray) -> None:
    first, again = (apply_channel(speech, RATE_HZ, WHOLE) for _ in range(2))
    other = apply_channel(speech, RATE_HZ, Channel(with_room(seed=8), 0.95, MP3))

    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3)


def test_the_samples_that_come_in_are_not_changed(speech: np.ndarray) -> None:
    before = speech.copy()

    apply_channel(speech, RATE_HZ, WHOLE)

    assert np.array_equal(speech, before)


def test_shares_and_ranges_are_those_of_the_recipe() -> None:
    rng = np.random.default_rng(0)
    channels = [channel for channel in (draw_channel(rng, TrainChannel()) for _ in range(8000)) if channel]
    rooms = [channel.room for channel in channels if channel.room]
    codecs = [channel.codec.name for channel in channels if channel.codec]

    assert len(channels) / 8000 == pytest.approx(0.5, abs=0.02)
    assert len(rooms) / len(channels) == pytest.approx(0.6, abs=0.03)
    assert np.mean([channel.clipping_quantile is not None for channel in channels]) == pytest.approx(0.3, abs=0.03)
    assert codecs.count("mp3") / len(channels) == pytest.approx(0.3, abs=0.03)
    assert codecs.count("mu_law") / len(channels) == pytest.approx(0.15, abs=0.02)
    for name, low, high in (
        ("rt60_s", 0.1, 0.9),
        ("direct_to_reverberant_db", -3, 15),
        ("pre_delay_s", 0.001, 0.01),
        ("low_pass_hz", 2000, 7000),
    ):
        values = [getattr(room, name) for room in rooms]
        assert low <= min(values) < max(values) <= high
    assert np.median([room.rt60_s for room in rooms]) == pytest.approx(0.3, rel=0.1)
