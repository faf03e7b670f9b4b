# SPDX-License-Identifier: Apache-2.0
"""Music, made by rule: a melody, a bass, chords and drums in one key and at one tempo, each by an instrument of its own.

Pure functions of a random generator: float [samples] of any level.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]

TABLE = 2048
"""Samples of one period: a note is read from it, however many harmonics it has."""
HARMONICS = 32
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10))
BEATS_PER_BAR = 4


@dataclass(frozen=True)
class Instrument:
    """What stays the same from note to note.

    `harmonics` are amplitudes, `bodies` resonances at fixed places (Hz, share of it that is its width, gain): what formants
    are to a voice, but they stay where they are. `stretch` moves overtones off the harmonics, as in bells.
    """

    harmonics: Wave
    bodies: tuple[tuple[float, float, float], ...]
    stretch: float
    attack_s: float
    decay_s: float
    dulling_s: float
    vibrato: float
    vibrato_hz: float
    glide: float
    breath: float
    drive: float


def draw_instrument(rng: np.random.Generator) -> Instrument:
    """Anything between a flute, a piano, an organ, a bell and a distorted guitar."""
    order = np.arange(1, HARMONICS + 1)
    harmonics = order ** -rng.uniform(0.3, 2.5) * rng.uniform(0.1, 1, HARMONICS)
    if rng.random() < 0.2:
        harmonics[1::2] *= 0.05
    sustained = rng.random() < 0.5
    return Instrument(
        harmonics,
        tuple(
            (_log_uniform(rng, 200, 4000), rng.uniform(0.05, 0.5), 10 ** rng.uniform(0.2, 1.2)) for _ in range(rng.integers(0, 4))
        ),
        stretch=rng.uniform(0.02, 0.4) if rng.random() < 0.15 else 0.0,
        attack_s=_log_uniform(rng, 0.002, 0.12),
        decay_s=np.inf if sustained else _log_uniform(rng, 0.06, 2.5),
        dulling_s=_log_uniform(rng, 0.03, 3),
        vibrato=rng.uniform(0, 0.025) if rng.random() < 0.5 else 0.0,
        vibrato_hz=rng.uniform(3.5, 7.5),
        glide=rng.uniform(-0.3, 0.3) if rng.random() < 0.2 else 0.0,
        breath=rng.uniform(0, 0.3) if rng.random() < 0.3 else 0.0,
        drive=_log_uniform(rng, 2, 30) if rng.random() < 0.2 else 0.0,
    )


def play(instrument: Instrument, midi: float, rng: np.random.Generator, length: int, sample_rate_hz: int) -> Wave:
    """One note of a MIDI number: float [length]."""
    time_s = np.arange(length) / sample_rate_hz
    base_hz = 440 * 2 ** ((midi - 69) / 12)
    wobble = instrument.vibrato * np.sin(2 * np.pi * instrument.vibrato_hz * time_s) * np.minimum(1, time_s / 0.3)
    phase = np.cumsum(base_hz * (1 + wobble + instrument.glide * np.exp(-time_s / 0.05))) / sample_rate_hz
    amplitudes = _amplitudes(instrument, base_hz, sample_rate_hz)
    if instrument.stretch:
        order = np.arange(1, 9)
        overtones = np.sin(2 * np.pi * np.outer(order ** (1 + instrument.stretch), phase))
        note = amplitudes[:8] @ (overtones * np.exp(-np.outer(order, time_s) / (4 * instrument.dulling_s)))
    else:
        place = (phase * TABLE).astype(np.int64) % TABLE
        turns = np.exp(2j * np.pi * rng.random(HARMONICS))
        dull = amplitudes / np.arange(1, HARMONICS + 1) ** 1.5
        bright_part = np.exp(-time_s / instrument.dulling_s)
        note = _period(amplitudes * turns)[place] * bright_part + _period(dull * turns)[place] * (1 - bright_part)
    note = note / (np.abs(note).max(initial=0) + 1e-9)
    note = note + instrument.breath * rng.standard_normal(length)
    if instrument.drive:
        note = np.tanh(instrument.drive * note)
    left_s = time_s[::-1]
    return (
        note * np.exp(-time_s / instrument.decay_s) * np.minimum(1, time_s / instrument.attack_s) * np.minimum(1, left_s / 0.02)
    )


def _amplitudes(instrument: Instrument, base_hz: float, sample_rate_hz: int) -> Wave:
    frequency_hz = base_hz * np.arange(1, HARMONICS + 1)
    gain = 1 + sum(
        gain / (1 + ((frequency_hz - centre_hz) / (width * centre_hz)) ** 2) for centre_hz, width, gain in instrument.bodies
    )
    return np.where(frequency_hz < 0.48 * sample_rate_hz, instrument.harmonics * gain, 0)


def _period(harmonics: NDArray[np.complex128]) -> Wave:
    return np.fft.irfft(np.concatenate([[0], harmonics]), TABLE)


class Event(NamedTuple):
    """Something that is played: when, for how long, how loud, and the function that plays it."""

    beat: float
    beats: float
    loudness: float
    play: Callable[[np.random.Generator, int, int], Wave]


class Song(NamedTuple):
    """What the parts have in common; `chords` are degrees of the scale, one a bar, and `root` is a MIDI number."""

    root: float
    scale: tuple[int, ...]
    chords: tuple[int, ...]

    def midi(self, degree: int) -> float:
        """The MIDI number of a degree of the scale, counted from the root through all octaves."""
        octave, step = divmod(degree, len(self.scale))
        return self.root + 12 * octave + self.scale[step]


def music(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> Wave:
    """One to four of a melody, a bass, chords and drums."""
    beat_samples = _log_uniform(rng, 0.15, 0.8) * sample_rate_hz
    start = int(rng.uniform(0, BEATS_PER_BAR) * beat_samples)
    bars = int((start + num_samples) / beat_samples / BEATS_PER_BAR) + 1
    chords = tuple(int(degree) for degree in rng.choice([0, 0, 3, 4, 5], bars))
    song = Song(rng.uniform(40, 56), SCALES[rng.integers(len(SCALES))], chords)
    sound = np.zeros(start + num_samples)
    for part in rng.choice(len(PARTS), rng.integers(1, len(PARTS) + 1), replace=False, p=PART_SHARES):
        loudness = rng.uniform(0.25, 1)
        for event in PARTS[part](rng, song):
            first = int(event.beat * beat_samples)
            length = min(int(event.beats * beat_samples), len(sound) - first)
            if length > 1:
                sound[first : first + length] += loudness * event.loudness * event.play(rng, length, sample_rate_hz)
    return sound[start:]


def melody(rng: np.random.Generator, song: Song) -> list[Event]:
    """Steps and leaps along the scale, with rests; half of all melodies keep one rhythm."""
    instrument, degree = draw_instrument(rng), int(rng.integers(0, 3 * len(song.scale)))
    lowest, keeps_rhythm, rhythm = degree - 4, rng.random() < 0.5, _rhythm(rng)
    events = []
    for bar in range(len(song.chords)):
        rhythm = rhythm if keeps_rhythm else _rhythm(rng)
        for beat, beats in rhythm:
            degree = int(np.clip(degree + rng.choice([-2, -1, -1, 0, 1, 1, 2, 4]), lowest, lowest + 10))
            if rng.random() > 0.1:
                played = partial(play, instrument, song.midi(degree))
                events.append(Event(bar * BEATS_PER_BAR + beat, beats, rng.uniform(0.5, 1), played))
    return events


def bass(rng: np.random.Generator, song: Song) -> list[Event]:
    """The chords' roots, an octave or two below, on every beat or held."""
    instrument, beats = draw_instrument(rng), float(rng.choice([0.5, 1, 2, 4]))
    down = 12 * int(rng.integers(0, 3))
    return [
        Event(bar * BEATS_PER_BAR + beat, beats, 1.0, partial(play, instrument, song.midi(degree) - down))
        for bar, degree in enumerate(song.chords)
        for beat in np.arange(0, BEATS_PER_BAR, beats)
    ]


def chords(rng: np.random.Generator, song: Song) -> list[Event]:
    """Triads, struck together or one tone after another."""
    instrument, up, broken = draw_instrument(rng), 12 * int(rng.integers(0, 3)), rng.random() < 0.4
    beats = float(rng.choice([0.5, 1, 2, 4]))
    events = []
    for bar, degree in enumerate(song.chords):
        for number, beat in enumerate(np.arange(0, BEATS_PER_BAR, beats)):
            tones = (degree, degree + 2, degree + 4)
            for tone in (tones[number % 3],) if broken else tones:
                played = partial(play, instrument, song.midi(tone) + up)
                events.append(Event(bar * BEATS_PER_BAR + beat, beats, 0.6, played))
    return events


def drums(rng: np.random.Generator, song: Song) -> list[Event]:
    """One bar's pattern of a deep drum, a snare and something that hisses, again and again."""
    pattern = [(beat, drum) for beat in np.arange(0, BEATS_PER_BAR, 0.5) for drum in _drum_kit(rng) if rng.random() < 0.4]
    return [
        Event(bar * BEATS_PER_BAR + beat, 1.0, rng.uniform(0.5, 1), drum)
        for bar in range(len(song.chords))
        for beat, drum in pattern
    ]


def _drum_kit(rng: np.random.Generator) -> list[Callable[[np.random.Generator, int, int], Wave]]:
    fades = rng.uniform(8, 20), rng.uniform(12, 40), rng.uniform(20, 80)
    return [
        partial(_drum, *drum)
        for drum in zip(rng.uniform(40, 220, 3), (0.02, 1.0, 1.0), (1.0, rng.uniform(0, 1), 0.0), fades, strict=True)
    ]


def _drum(
    pitch_hz: float, noise: float, tone: float, fade: float, rng: np.random.Generator, length: int, sample_rate_hz: int
) -> Wave:
    time_s = np.arange(length) / sample_rate_hz
    skin = np.sin(2 * np.pi * (pitch_hz * time_s + 8 * (1 - np.exp(-30 * time_s))))
    return (noise * rng.standard_normal(length) + tone * skin) * np.exp(-fade * time_s)


def _rhythm(rng: np.random.Generator) -> list[tuple[float, float]]:
    """A bar of notes: beat and length in beats of each."""
    notes, beat = [], 0.0
    while beat < BEATS_PER_BAR:
        beats = min(float(rng.choice([0.5, 0.5, 1, 1, 2])), BEATS_PER_BAR - beat)
        notes.append((beat, beats))
        beat += beats
    return notes


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


PARTS = (melody, bass, chords, drums)
PART_SHARES = (0.4, 0.2, 0.25, 0.15)
