# SPDX-License-Identifier: Apache-2.0
"""Each degradation does what its name says, by a measure that is not its own."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
from scipy import signal

from beam_jobs.audio import resample
from components.robustness.config import DESCRIPTIONS, NAMES, STRENGTHS
from components.robustness.degradations import degradations, generator, room_response
from components.robustness.psola import move_voice

RATE_HZ = 16000
FORMANTS_HZ = (500.0, 1500.0, 2500.0)


def voice(pitch_hz: float, seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """Pulses of a wavering pitch through three formants, with a pause in the middle: float32 [samples]."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    phase = np.cumsum(pitch_hz * (1 + 0.03 * np.sin(2 * np.pi * 1.5 * time + seed))) / RATE_HZ
    samples = np.diff(np.floor(phase), prepend=0.0)
    for formant_hz in FORMANTS_HZ:
        radius = np.exp(-np.pi * 80 / RATE_HZ)
        samples = signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant_hz / RATE_HZ), radius**2], samples)
    samples[len(samples) // 2 : len(samples) // 2 + RATE_HZ // 4] = 0
    noise = 1e-4 * np.random.default_rng(seed).standard_normal(len(samples))
    return (0.1 * samples / samples.std() + noise).astype(np.float32)


VOICES = [voice(pitch_hz, seed=number) for number, pitch_hz in enumerate((95, 110, 130, 180, 205, 220, 240, 150, 120))]
ALL = degradations(VOICES[1:])
EACH = pytest.mark.parametrize("strength", STRENGTHS)


def degraded(name: Any, strength: int, samples: np.ndarray = VOICES[0]) -> np.ndarray:
    return ALL[name](samples, RATE_HZ, strength, generator(name, strength))


def pitch_of(samples: np.ndarray) -> float:
    pitch = librosa.yin(samples, fmin=60, fmax=600, sr=RATE_HZ, frame_length=2048)
    level = librosa.feature.rms(y=samples)[0]
    return float(np.median(pitch[level > 0.5 * level.max()]))


def formants_of(samples: np.ndarray) -> np.ndarray:
    """The three strongest resonances, by linear prediction."""
    roots = np.roots(librosa.lpc(samples.astype(np.float64), order=8))
    roots = roots[(np.imag(roots) > 0) & (np.abs(roots) > 0.8)]
    return np.sort(np.angle(roots[np.argsort(-np.abs(roots))[:3]])) * RATE_HZ / (2 * np.pi)


def power_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    frequency, power = signal.welch(samples, RATE_HZ, nperseg=2048)
    return float(10 * np.log10(power[(frequency >= low_hz) & (frequency <= high_hz)].mean()))


def ratio_db(samples: np.ndarray, original: np.ndarray) -> float:
    """Power of what goes along with the original over that of what does not."""
    voiced = original * (samples @ original / (original @ original))
    return float(10 * np.log10(np.sum(voiced**2) / np.sum((samples - voiced) ** 2)))


@EACH
@pytest.mark.parametrize("name", ALL)
def test_they_keep_the_number_of_samples_and_come_out_alike_twice(name, strength):
    before = VOICES[0].copy()
    found = degraded(name, strength)
    assert found.dtype == np.float32
    assert found.shape == before.shape
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1
    np.testing.assert_array_equal(found, degraded(name, strength))
    np.testing.assert_array_equal(VOICES[0], before)
    assert not np.array_equal(found, before)


def test_there_are_ten_and_each_is_described():
    assert len(NAMES) == 10
    assert tuple(ALL) == NAMES == tuple(DESCRIPTIONS)


# Linear prediction finds no formants between harmonics that are far apart.
@pytest.mark.parametrize(("pitch_hz", "factor"), [(95, 0.8), (95, 1.4), (95, 1.9), (205, 0.65), (205, 0.8), (205, 1.3)])
def test_pitch_moves_and_formants_stay(pitch_hz, factor):
    found = move_voice(voice(pitch_hz), RATE_HZ, factor)
    assert pitch_of(found) == pytest.approx(factor * pitch_hz, rel=0.04)
    assert formants_of(found) == pytest.approx(FORMANTS_HZ, rel=0.08)


def test_formants_move_and_pitch_stays():
    found = move_voice(voice(110), RATE_HZ, 1.0, formants=1.15)
    assert pitch_of(found) == pytest.approx(110, rel=0.03)
    assert formants_of(found) == pytest.approx(1.15 * np.array(FORMANTS_HZ), rel=0.06)


@pytest.mark.parametrize(("name", "factors"), [("shout", (1.4, 1.75, 2.1)), ("low_voice", (0.85, 0.75, 0.65))])
@EACH
def test_people_who_shout_are_higher_and_brighter_and_low_voices_lower_and_darker(name, factors, strength):
    found, original = degraded(name, strength, VOICES[4]), VOICES[4]
    assert pitch_of(found) / pitch_of(original) == pytest.approx(factors[strength - 1], rel=0.12)
    brightness = [power_db(samples, 2000, 4000) - power_db(samples, 200, 800) for samples in (found, original)]
    assert (brightness[0] > brightness[1]) == (name == "shout")


@EACH
def test_pitch_of_real_speech_is_raised(strength):
    root = os.environ.get("LIBRISPEECH_ROOT")
    if not root:
        pytest.skip("LIBRISPEECH_ROOT is not set: it names a folder with SPEAKERS.TXT and train-clean-100")
    path = min(Path(root).glob("*/118/*/*.flac"))  # a man
    samples = soundfile.read(path, dtype="float32")[0][: 5 * RATE_HZ]
    raised = degraded("shout", strength, samples)
    assert pitch_of(raised) / pitch_of(samples) == pytest.approx((1.4, 1.75, 2.1)[strength - 1], rel=0.15)


@EACH
@pytest.mark.parametrize("name", ["babble", "pink_noise"])
def test_noise_lies_as_far_below_as_asked(name, strength):
    assert ratio_db(degraded(name, strength), VOICES[0]) == pytest.approx((15, 8, 2)[strength - 1], abs=1)


def test_pink_noise_falls_by_three_decibels_an_octave():
    noise = degraded("pink_noise", 3) - degraded("pink_noise", 3) @ VOICES[0] / (VOICES[0] @ VOICES[0]) * VOICES[0]
    assert power_db(noise, 250, 500) - power_db(noise, 2000, 4000) == pytest.approx(9, abs=1)


@EACH
def test_telephone_and_low_pass_leave_nothing_above_their_band(strength):
    white = np.random.default_rng(0).normal(0, 0.1, 3 * RATE_HZ).astype(np.float32)
    for name, top_hz in (("telephone", 4000), ("low_pass", (3400, 2400, 1600)[strength - 1])):
        found = degraded(name, strength, white)
        assert power_db(found, 500, 1500) - power_db(found, top_hz * 1.25, 8000) > 25, name
    assert power_db(found, 500, 1500) - power_db(found, 0, 100) > 30  # GSM puts noise of its own there


@EACH
def test_as_many_samples_are_clipped_as_asked(strength):
    found = np.abs(degraded("clipped", strength))
    assert np.mean(found >= found.max() - 1e-7) == pytest.approx((0.05, 0.15, 0.3)[strength - 1], abs=0.01)


@EACH
def test_far_voices_are_quiet_and_the_converter_is_heard(strength):
    found = degraded("far", strength)
    assert 20 * np.log10(found.std()) == pytest.approx((-30, -40, -50)[strength - 1], abs=0.6)
    assert ratio_db(found, VOICES[0]) == pytest.approx((30, 20, 10)[strength - 1], abs=1)


def test_opus_at_the_lowest_rate_leaves_nothing_above_4_khz():
    white = np.random.default_rng(0).normal(0, 0.1, 3 * RATE_HZ).astype(np.float32)
    above = [
        power_db(found, 500, 1500) - power_db(found, 5000, 7000) for found in (degraded("opus", k, white) for k in STRENGTHS)
    ]
    assert above[1] < 10
    assert above[2] > 30


def test_opus_keeps_the_end_of_a_voice():
    found = degraded("opus", 1)
    assert found[-RATE_HZ // 10 :].std() == pytest.approx(VOICES[0][-RATE_HZ // 10 :].std(), rel=0.2)


@pytest.mark.parametrize("name", ["telephone", "room"])
def test_stronger_is_less_like_the_original(name):
    def distance(strength: int) -> float:
        spectra = [np.abs(librosa.stft(samples)) for samples in (degraded(name, strength), VOICES[0])]
        return float(np.mean(np.abs(np.diff(librosa.amplitude_to_db(np.array(spectra), ref=1.0, amin=1e-4), axis=0))))

    assert 0 < distance(1) < distance(2) < distance(3)


@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.0])
def test_rooms_die_away_as_long_as_asked(seconds):
    found = []
    for number in range(4):
        response = room_response(np.array([7.0, 5.0, 3.0]), seconds, 2.0, RATE_HZ, generator("room", number))
        left_db = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2))  # Schroeder's curve
        found.append(3 * (np.argmax(left_db < -25) - np.argmax(left_db < -5)) / RATE_HZ)
    assert np.mean(found) == pytest.approx(seconds, rel=0.35)


# Other rates, and other tools.


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("name", NAMES)
def test_clips_of_any_rate_come_out_as_those_of_16_khz(name, rate_hz):
    """Below 3 kHz, which all rates have, the spectrum is what it is at 16 kHz."""
    others = [resample(samples, RATE_HZ, rate_hz) for samples in VOICES[1:]]
    original = resample(VOICES[0], RATE_HZ, rate_hz)
    found = degradations(others)[name](original, rate_hz, 2, generator(name, 2))
    assert (found.dtype, found.shape) == (np.float32, original.shape)

    bands = [(300, 600), (600, 1200), (1200, 2400)]
    there, here = (
        [power_db(samples, low, high) for low, high in bands]
        for samples in (resample(found, rate_hz, RATE_HZ), degraded(name, 2))
    )
    # Pitch marks and the room's pulses fall on other samples.
    assert there == pytest.approx(here, abs=3)


def by_ffmpeg(samples: np.ndarray, *options: str, name: str) -> np.ndarray:
    """What is left of samples at 16 kHz when ffmpeg has coded them into a file of this name."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg on the PATH (Debian: apt install ffmpeg)")
    with TemporaryDirectory() as folder:
        soundfile.write(f"{folder}/in.wav", samples, RATE_HZ, subtype="PCM_16")
        common = ["ffmpeg", "-v", "error", "-i"]
        subprocess.run([*common, f"{folder}/in.wav", *options, f"{folder}/{name}"], check=True)
        subprocess.run([*common, f"{folder}/{name}", "-ar", str(RATE_HZ), f"{folder}/out.wav"], check=True)
        return soundfile.read(f"{folder}/out.wav", dtype="float32")[0]


def spectrum_db(samples: np.ndarray) -> np.ndarray:
    """Power in bands of 200 Hz up to 3 kHz, and above 4.5 kHz, over that of all."""
    bands = [(low, low + 200) for low in range(400, 3000, 200)] + [(4500, 7500)]
    return np.array([power_db(samples, low, high) for low, high in bands]) - power_db(samples, 0, 8000)


def test_the_telephone_sounds_as_that_of_ffmpeg_and_libgsm():
    noise = np.random.default_rng(1).normal(0, 0.1, 4 * RATE_HZ).astype(np.float32)
    for samples in (noise, VOICES[0]):
        samples = 0.5 * samples / np.abs(samples).max()  # GSM's own noise depends on the level
        theirs = by_ffmpeg(samples, "-af", "highpass=300,lowpass=3400", "-ar", "8000", "-c:a", "libgsm_ms", name="phone.wav")
        ours, expected = spectrum_db(degraded("telephone", 1, samples)), spectrum_db(theirs)
        assert ours[:-1] == pytest.approx(expected[:-1], abs=3)
        assert ours[-1] < -30 and expected[-1] < -30


@pytest.mark.parametrize(("strength", "rate"), [(1, "16k"), (3, "6k")])
def test_opus_sounds_as_that_of_ffmpeg_and_libopus(strength, rate):
    theirs = by_ffmpeg(VOICES[0], "-c:a", "libopus", "-b:a", rate, "-ac", "1", name="voice.opus")
    assert spectrum_db(degraded("opus", strength))[:-1] == pytest.approx(spectrum_db(theirs)[:-1], abs=2)


def test_pink_noise_is_that_of_ffmpeg():
    ours = degraded("pink_noise", 3) - degraded("pink_noise", 3) @ VOICES[0] / (VOICES[0] @ VOICES[0]) * VOICES[0]
    silence = np.zeros(8 * RATE_HZ, np.float32)
    theirs = by_ffmpeg(silence, "-filter_complex", "anoisesrc=c=pink:r=16000:d=8:a=0.5", "-ac", "1", name="noise.wav")
    assert spectrum_db(ours)[:-1] == pytest.approx(spectrum_db(theirs)[:-1], abs=2)
