# SPDX-License-Identifier: Apache-2.0
"""A changed voice is what was drawn, as librosa hears it: pitch, formants, tilt and intonation, each on its own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from scipy import signal

from beam_jobs.variants import PitchRange, TrainVoice
from beam_jobs.voice import Effort, Voice, by_effort, change_voice, draw_voice

RATE_HZ = 16_000
SAME = Voice(pitch_hz=120, intonation=1, formants=1, first_formant=0, tilt_db_per_octave=0)
FORMANTS_HZ = (500, 1500, 2500, 3500)


def vowel(pitch_hz: float = 120, duration_s: float = 1.0, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """Pulses through four resonators, with a slowly wavering pitch: a vowel whose formants are known."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    phase = np.cumsum(pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 2 * time_s)) / rate_hz)
    samples = np.diff(np.floor(phase), prepend=0) + 1e-3 * np.random.default_rng(seed).standard_normal(len(time_s))
    samples = signal.lfilter([1], [1, -0.95], samples)
    for formant_hz in FORMANTS_HZ:
        radius = np.exp(-np.pi * 80 / rate_hz)
        samples = signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant_hz / rate_hz), radius**2], samples)
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def formants_of(samples: np.ndarray) -> np.ndarray:
    """Frequencies of LPC's sharpest poles, in the middle of the samples."""
    middle = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)
    roots = np.roots(librosa.lpc(signal.lfilter([1, -0.95], [1], middle) * np.hanning(len(middle)), order=12))
    sharp = roots[(roots.imag > 0) & (np.abs(roots) > 0.9)]
    return np.sort(np.angle(sharp)) * RATE_HZ / (2 * np.pi)


def pitch_of(samples: np.ndarray) -> np.ndarray:
    """Pitch of the voiced frames in Hz, by pYIN."""
    pitch, voiced, _ = librosa.pyin(samples, fmin=55, fmax=700, sr=RATE_HZ, frame_length=1024)
    return pitch[voiced]


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def real_speech() -> Iterator[np.ndarray]:
    """4 s each of seven speakers of LibriSpeech."""
    if not os.environ.get("LIBRISPEECH_ROOT"):
        pytest.skip("LIBRISPEECH_ROOT is not set: it names a folder with SPEAKERS.TXT and train-clean-100")
    root = Path(os.environ["LIBRISPEECH_ROOT"])
    for path in sorted(root.glob("train-clean-100/*/*/*.flac"))[::40]:
        yield soundfile.read(path, start=8000, frames=4 * RATE_HZ, dtype="float32")[0]


def test_real_voices_have_the_drawn_pitch_whatever_theirs_was() -> None:
    """By pYIN, another algorithm: it takes other frames for voiced, so its median is a little off."""
    ratios = []
    for speech, pitch_hz in zip(real_speech(), (90, 130, 160, 200, 260, 320, 400), strict=False):
        changed = change_voice(speech, RATE_HZ, Voice(pitch_hz, 1, 1.03, 0.1, 2))
        assert (changed.dtype, len(changed)) == (np.float32, len(speech))
        assert level(changed) == pytest.approx(level(speech), rel=1e-3)
        ratios.append(np.median(pitch_of(changed)) / pitch_hz)

    assert np.median(np.abs(np.log(ratios))) < 0.05
    assert max(np.abs(np.log(ratios))) < 0.15


def test_hum_of_the_mains_is_not_taken_for_a_voice() -> None:
    """Speaker 103: the hum lies 11 dB below her voice, and there is nothing else in the pauses."""
    speech = next(real_speech())

    changed = change_voice(speech, RATE_HZ, Voice(300, 1, 1, 0, 0))

    assert np.median(pitch_of(changed)) == pytest.approx(300, rel=0.1)
    power, frequency = np.abs(np.fft.rfft(changed)) ** 2, np.fft.rfftfreq(len(changed), 1 / RATE_HZ)
    assert power[(frequency > 55) & (frequency < 65)].sum() < 1e-3 * power.sum()


def test_real_voices_that_are_hardly_changed_keep_their_spectrum_in_time() -> None:
    for speech in real_speech():
        changed = change_voice(speech, RATE_HZ, Voice(180, 1, 1, 0, 0))

        before, after = (
            librosa.power_to_db(librosa.feature.melspectrogram(y=part, sr=RATE_HZ, n_mels=24, fmin=200))
            for part in (speech, changed)
        )
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_formants_move_by_the_drawn_factor_and_the_pitch_does_not_move_them() -> None:
    assert formants_of(vowel()) == pytest.approx(FORMANTS_HZ, rel=0.02)

    higher = change_voice(vowel(), RATE_HZ, Voice(170, 1, 1.06, 0, 0))
    lower = change_voice(vowel(), RATE_HZ, Voice(100, 1, 0.94, 0, 0))

    assert formants_of(higher) == pytest.approx(1.06 * np.array(FORMANTS_HZ), rel=0.03)
    assert formants_of(lower) == pytest.approx(0.94 * np.array(FORMANTS_HZ), rel=0.03)


def test_the_first_formant_rises_alone() -> None:
    first, *others = formants_of(change_voice(vowel(), RATE_HZ, Voice(120, 1, 1, 0.3, 0)))

    assert 1.15 * FORMANTS_HZ[0] < first < 1.3 * FORMANTS_HZ[0]
    assert others == pytest.approx(FORMANTS_HZ[1:], rel=0.04)


@pytest.mark.parametrize("tilt_db", [-3.0, 6.0])
def test_the_tilt_is_in_decibels_an_octave(tilt_db: float) -> None:
    frequency, before = signal.welch(change_voice(vowel(), RATE_HZ, SAME), RATE_HZ, nperseg=2048)
    _, after = signal.welch(change_voice(vowel(), RATE_HZ, Voice(120, 1, 1, 0, tilt_db)), RATE_HZ, nperseg=2048)
    band = (frequency > 450) & (frequency < 3800)

    slope = np.polyfit(np.log2(frequency[band]), 10 * np.log10(after[band] / before[band]), 1)[0]

    assert slope == pytest.approx(tilt_db, abs=0.5)


def test_intonation_widens_and_narrows() -> None:
    spread = {
        intonation: np.std(np.log(pitch_of(change_voice(vowel(), RATE_HZ, Voice(120, intonation, 1, 0, 0)))))
        for intonation in (0.5, 1, 2)
    }

    assert spread[0.5] == pytest.approx(spread[1] / 2, rel=0.2)
    assert spread[2] == pytest.approx(spread[1] * 2, rel=0.2)


def test_a_voice_raised_by_effort_is_brighter_and_as_loud() -> None:
    for speech in real_speech():
        shout = change_voice(speech, RATE_HZ, Voice(350, 1, 1.03, 0.2, 6))

        before, after = (librosa.feature.spectral_centroid(y=part, sr=RATE_HZ).mean() for part in (speech, shout))
        assert after > 1.1 * before
        assert level(shout) == pytest.approx(level(speech), rel=1e-3)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 44_100])
@pytest.mark.parametrize("num_samples", [1, 2, 500, 1_600, 2_205, 4_410, 16_001, 23_457])
def test_every_length_stays_to_the_sample(rate_hz: int, num_samples: int) -> None:
    samples = vowel(rate_hz=rate_hz, duration_s=2)[2_000 : 2_000 + num_samples]

    changed = change_voice(samples, rate_hz, Voice(200, 1.5, 1.05, 0.2, 7))

    assert len(changed) == num_samples
    assert np.isfinite(changed).all()


def test_what_has_no_voice_is_left_as_it_is() -> None:
    knock = np.zeros(RATE_HZ, np.float32)
    knock[4_000] = 0.5

    assert np.array_equal(change_voice(knock, RATE_HZ, Voice(200, 1, 1.05, 0.2, 7)), knock)


def test_the_same_samples_in_every_thread_and_process() -> None:
    voice = Voice(231.5, 1.3, 1.04, 0.2, 5.5)
    expected = hashlib.sha256(change_voice(vowel(), RATE_HZ, voice).tobytes()).hexdigest()

    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda _: change_voice(vowel(), RATE_HZ, voice), range(8)))
    code = (
        "import hashlib; from test_voice import *; "
        f"print(hashlib.sha256(change_voice(vowel(), RATE_HZ, {voice!r}).tobytes()).hexdigest())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    processes = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for threads in ("1", "8")
    ]

    assert {hashlib.sha256(samples.tobytes()).hexdigest() for samples in threads} == {expected}
    assert processes == [expected, expected]


# What is drawn


def drawn(label: str, settings: TrainVoice, number: int = 4000) -> list[Voice]:
    rng = np.random.default_rng(0)
    return [voice for voice in (draw_voice(rng, settings, label) for _ in range(number)) if voice]


EACH_ON_ITS_OWN = TrainVoice(effort_share=0)
BY_EFFORT = TrainVoice(share=1, effort_share=1, own_pitch_share=0)
FROM_OWN_PITCH = TrainVoice(share=1, effort_share=1, own_pitch_share=1)


def test_the_share_and_the_ranges_are_those_of_the_recipe() -> None:
    for label, (low, high) in {"male": (75, 420), "female": (135, 480)}.items():
        voices = drawn(label, EACH_ON_ITS_OWN)
        assert len(voices) / 4000 == pytest.approx(0.7, abs=0.03)
        for name, lowest, highest in (
            ("pitch_hz", low, high),
            ("intonation", 0.7, 1.8),
            ("formants", 0.94, 1.06),
            ("first_formant", 0, 0.3),
            ("tilt_db_per_octave", -3, 7),
        ):
            values = [getattr(voice, name) for voice in voices]
            margin = 0.02 * (highest - lowest)
            assert lowest <= min(values) < lowest + margin
            assert highest - margin < max(values) <= highest
        assert np.mean([voice.first_formant == 0 for voice in voices]) == pytest.approx(0.25, abs=0.03)


def test_pitch_above_effort_is_drawn_as_often_as_its_weight_says() -> None:
    men = np.array([voice.pitch_hz for voice in drawn("male", EACH_ON_ITS_OWN)])
    calm, raised = np.log(150 / 75), np.log(420 / 150)

    assert np.mean(men > 150) == pytest.approx(4 * raised / (calm + 4 * raised), abs=0.02)
    # Evenly on a logarithmic scale on either side.
    assert np.mean(np.log(men[men > 150] / 150)) == pytest.approx(raised / 2, rel=0.05)
    assert np.mean(np.log(men[men <= 150] / 75)) == pytest.approx(calm / 2, rel=0.1)


def test_women_are_drawn_evenly_on_a_logarithmic_scale() -> None:
    women = np.array([voice.pitch_hz for voice in drawn("female", EACH_ON_ITS_OWN)])

    assert np.exp(np.mean(np.log(women))) == pytest.approx(np.sqrt(135 * 480), rel=0.03)


@pytest.mark.parametrize("effort_hz", [60, 100, 200, 300, 700])
def test_effort_may_begin_anywhere(effort_hz: float) -> None:
    pitch = PitchRange(min=100, max=300, effort_hz=effort_hz, effort_weight=9)
    settings = TrainVoice(share=1, effort_share=0, pitch_hz={"male": pitch})

    values = [voice.pitch_hz for voice in drawn("male", settings, 500)]

    assert 100 <= min(values) < 150
    assert 250 < max(values) <= 300 + 1e-9


def test_a_third_of_the_changed_voices_is_of_each_kind() -> None:
    voices = drawn("female", TrainVoice())

    alone = np.mean([voice.effort is None for voice in voices])
    from_own_pitch = np.mean([voice.effort is not None and voice.effort.calm is not None for voice in voices])
    assert (alone, from_own_pitch) == pytest.approx((1 / 3, 1 / 3), abs=0.03)


def test_a_voice_that_is_raised_by_effort_gets_brighter_with_every_octave_and_a_lower_one_darker() -> None:
    voices = [by_effort(voice, 120) for voice in drawn("male", BY_EFFORT)]
    octaves = np.log2([voice.pitch_hz / 120 for voice in voices])

    tilt, first = (np.array([getattr(voice, name) for voice in voices]) for name in ("tilt_db_per_octave", "first_formant"))

    middle = (octaves > -0.4) & (octaves < 1.2)  # the steepest are cut off
    assert np.polyfit(octaves[middle], tilt[middle], 1)[0] == pytest.approx(4.5, abs=0.3)
    assert first[octaves > 1.5].min() > 0.2
    assert first[octaves < 0].max() <= 0.06
    assert {voice.effort for voice in voices} == {None}


def test_effort_from_their_own_pitch_raises_a_voice_or_leaves_it_and_never_past_what_their_label_reaches() -> None:
    for label, own_hz, highest_hz in (("male", 141, 420), ("female", 141, 480), ("male", 500, 420)):
        pitch = np.array([by_effort(voice, own_hz).pitch_hz for voice in drawn(label, FROM_OWN_PITCH)])

        calm = np.mean(np.abs(np.log(pitch / own_hz)) < 0.25)
        assert calm > 0.35
        assert pitch.min() > own_hz * np.exp(-0.45)
        assert pitch.max() < max(highest_hz, own_hz) * np.exp(0.45)


def test_real_voices_are_raised_from_their_own_pitch_by_the_octaves_that_were_drawn() -> None:
    """By pYIN: half of the way, in octaves, from where they are to 480 Hz."""
    ratios = []
    for speech in real_speech():
        own_hz = np.median(pitch_of(change_voice(speech, RATE_HZ, Voice(480, 1, 1, 0, 0, Effort(1.0, 0.0)))))
        raised = change_voice(speech, RATE_HZ, Voice(480, 1, 1, 0, 0, Effort(1.0, 0.5)))
        ratios.append(np.median(pitch_of(raised)) / np.sqrt(own_hz * 480))

    assert np.median(np.abs(np.log(ratios))) < 0.05
    assert max(np.abs(np.log(ratios))) < 0.15
