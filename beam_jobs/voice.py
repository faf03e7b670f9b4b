# SPDX-License-Identifier: Apache-2.0
"""Another voice out of the same words: WORLD takes pitch, spectral envelope and noise apart, and each is changed on its own."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_jobs.mixing import Samples, match_level
from beam_jobs.variants import PitchRange, TrainVoice

MIN_SAMPLE_RATE_HZ = 16_000
"""Below it WORLD reads memory that holds nothing yet: its D4C looks at the spectrum up to 7.9 kHz, whatever the rate."""
SHORTEST_S = 0.1
"""What is shorter has no pitch to speak of."""

PITCH_LIMITS_HZ = (60.0, 800.0)
FIRST_FORMANT_END_HZ = 900.0
TILT_HZ = (400.0, 8000.0)
"""Where the tilt begins and where it ends, so that a high sample rate adds no hiss."""
HUM_HZ = (62.0, 68.0)
"""Nothing below the first is left and all above the second: mains hum at 50 or 60 Hz."""
QUIET_SHARE = 0.01
"""Of the loudest frame's power: what is softer has no say in a voice's median pitch, since noise has pitches of its own."""
BLOCK = 1000
"""Frames whose spectra are changed at once."""

# What effort moves with each octave that it raises the pitch, and how far voices are from that rule. Measured against other
# shares and rules on 251 speakers: docs/decisions/0005-network-trials.md, section 9.
EFFORT_TILT_DB_PER_OCTAVE = 4.5
EFFORT_FIRST_FORMANT = 0.2
EFFORT_FORMANTS = 0.02
CALM_TILT_DB_PER_OCTAVE = (-3.0, 1.0)
CALM_FIRST_FORMANT = (-0.06, 0.06)
STEEPEST_TILTS_DB_PER_OCTAVE = (-6.0, 9.0)
CALM_SHARE = 0.35
"""Of the voices whose effort starts from their own pitch, those that make none."""
DAILY_PITCH = 0.1
"""Deviation of a speaker's calm pitch from one day to another, as the logarithm of a factor."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How a voice comes to its pitch where tilt and formants follow it, as they do when somebody raises their voice.

    Attributes:
        calm: factor on the speaker's own pitch, from which the voice is raised; None: from their own pitch to the drawn one.
        share: how much of the way, in octaves, from there to the drawn pitch.
    """

    calm: float | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Voice:
    """What a voice is changed into; the fields are those of `TrainVoice`, with a value in place of each range.

    With an `effort`, first formant and tilt are what the voice has beside those that its effort gives it.
    """

    pitch_hz: float
    intonation: float
    formants: float
    first_formant: float
    tilt_db_per_octave: float
    effort: Effort | None = None


def draw_voice(rng: np.random.Generator, settings: TrainVoice, label: str) -> Voice | None:
    """Draws the voice for a speaker of `label`; None, where it stays as it is."""
    if rng.random() >= settings.share:
        return None
    low, high = np.log([settings.formants.min, settings.formants.max])
    voice = Voice(
        pitch_hz=_draw_pitch(rng, settings.pitch_of(label)),
        intonation=float(rng.uniform(settings.intonation.min, settings.intonation.max)),
        formants=float(np.exp(rng.uniform(low, high))),
        first_formant=max(0.0, float(rng.uniform(settings.first_formant.min, settings.first_formant.max))),
        tilt_db_per_octave=float(rng.uniform(settings.tilt_db_per_octave.min, settings.tilt_db_per_octave.max)),
    )
    return _draw_effort(rng, settings, label, voice) if rng.random() < settings.effort_share else voice


def _draw_effort(rng: np.random.Generator, settings: TrainVoice, label: str, voice: Voice) -> Voice:
    pitch_hz, effort = voice.pitch_hz, Effort()
    if rng.random() < settings.own_pitch_share:
        pitch_hz = settings.pitch_of(label).max
        share = 0.0 if rng.random() < CALM_SHARE else float(rng.random())
        effort = Effort(float(np.exp(rng.normal(0, DAILY_PITCH))), share)
    return replace(
        voice,
        pitch_hz=pitch_hz,
        first_formant=float(rng.uniform(*CALM_FIRST_FORMANT)),
        tilt_db_per_octave=float(rng.uniform(*CALM_TILT_DB_PER_OCTAVE) + rng.normal()),
        effort=effort,
    )


def _draw_pitch(rng: np.random.Generator, pitch: PitchRange) -> float:
    effort_hz = min(max(pitch.effort_hz or pitch.max, pitch.min), pitch.max)
    calm, raised = np.log(effort_hz / pitch.min), np.log(pitch.max / effort_hz)
    drawn = rng.random() * (calm + pitch.effort_weight * raised)
    octaves = drawn if drawn <= calm else calm + (drawn - calm) / pitch.effort_weight
    return float(pitch.min * np.exp(octaves))


def change_voice(samples: Samples, sample_rate_hz: int, voice: Voice) -> Samples:
    """Speaks `samples` again in another voice: the same length and the same level.

    Where nothing is voiced, or for less than 0.1 s, the samples are returned as they are: then there is no pitch to change.

    Args:
        samples: float32 [samples].
        sample_rate_hz: at least 16 kHz.
        voice: what to change them into.

    """
    import pyworld  # only jobs that change voices need it

    if len(samples) < SHORTEST_S * sample_rate_hz:
        return samples
    wave = _without_hum(samples, sample_rate_hz)
    # Measured against `harvest`, which takes six times as long, on 51 speakers of LibriSpeech (docs/dataset.md).
    coarse, times = pyworld.dio(wave, sample_rate_hz, f0_floor=80, f0_ceil=500, channels_in_octave=4, allowed_range=0.15)
    pitch = pyworld.stonemask(wave, coarse, times, sample_rate_hz)
    envelope = pyworld.cheaptrick(wave, pitch, times, sample_rate_hz)
    voiced, power = pitch > 0, envelope.sum(axis=1)
    heard = voiced & (power > QUIET_SHARE * power.max())
    if not heard.any():
        return samples
    aperiodicity = pyworld.d4c(wave, pitch, times, sample_rate_hz)
    own_hz = float(np.median(pitch[heard]))
    voice = by_effort(voice, own_hz)
    distance = np.log(pitch[voiced] / own_hz) * voice.intonation
    pitch[voiced] = np.clip(voice.pitch_hz * np.exp(distance), *PITCH_LIMITS_HZ)
    _change_spectra(envelope, aperiodicity, sample_rate_hz, voice)
    spoken = pyworld.synthesize(pitch, envelope, aperiodicity, sample_rate_hz)[: len(samples)]
    # WORLD counts in frames of 5 ms and stops at the last whole one.
    whole = np.pad(spoken, (0, len(samples) - len(spoken))).astype(np.float32)
    return match_level(whole, samples)


def by_effort(voice: Voice, own_hz: float) -> Voice:
    """The voice of a speaker whose pitch is `own_hz`: what their effort does to it, written out."""
    effort = voice.effort
    if effort is None:
        return voice
    calm_hz = own_hz * (effort.calm or 1.0)
    octaves = float(np.log2(voice.pitch_hz / calm_hz))
    if effort.calm:  # from their own pitch effort goes up alone
        octaves = effort.share * max(octaves, 0.0)
    return replace(
        voice,
        pitch_hz=calm_hz * 2**octaves,
        formants=voice.formants * float(np.exp(EFFORT_FORMANTS * octaves)),
        first_formant=max(0.0, voice.first_formant + EFFORT_FIRST_FORMANT * max(octaves, 0.0)),
        tilt_db_per_octave=float(
            np.clip(voice.tilt_db_per_octave + EFFORT_TILT_DB_PER_OCTAVE * octaves, *STEEPEST_TILTS_DB_PER_OCTAVE)
        ),
        effort=None,
    )


def _without_hum(samples: Samples, sample_rate_hz: int) -> NDArray[np.float64]:
    """The samples without what lies below any voice: hum of the mains, in a pause, has a pitch like one."""
    size = 1 << (len(samples) + sample_rate_hz // 4).bit_length()
    spectrum = np.fft.rfft(samples.astype(np.float64), size)
    spectrum *= np.clip((np.fft.rfftfreq(size, 1 / sample_rate_hz) - HUM_HZ[0]) / (HUM_HZ[1] - HUM_HZ[0]), 0, 1)
    return np.ascontiguousarray(np.fft.irfft(spectrum, size)[: len(samples)])


def _change_spectra(envelope: NDArray[Any], aperiodicity: NDArray[Any], sample_rate_hz: int, voice: Voice) -> None:
    """Moves the formants of [frames, bins] spectra of power, and tilts them, in place."""
    bins = envelope.shape[1]
    frequency = np.linspace(0, sample_rate_hz / 2, bins)
    first = 1 + voice.first_formant * np.exp(-((frequency / FIRST_FORMANT_END_HZ) ** 2))
    source = np.clip(frequency / (voice.formants * first) / (sample_rate_hz / 2) * (bins - 1), 0, bins - 1)
    below = np.minimum(source.astype(np.int64), bins - 2)
    share = source - below
    tilt = 10 ** (voice.tilt_db_per_octave * np.log2(np.clip(frequency, *TILT_HZ) / TILT_HZ[0]) / 10)
    for start in range(0, len(envelope), BLOCK):
        block = slice(start, start + BLOCK)
        level = np.log(envelope[block] + 1e-16)
        envelope[block] = np.exp(level[:, below] * (1 - share) + level[:, below + 1] * share) * tilt
        aperiodicity[block] = aperiodicity[block][:, below] * (1 - share) + aperiodicity[block][:, below + 1] * share
