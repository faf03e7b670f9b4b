# SPDX-License-Identifier: Apache-2.0
"""Music made by rule, listened to by librosa."""

import dataclasses
from functools import partial

import librosa
import numpy as np
import pytest

from components.trainer.input import music

RATE_HZ = 16000
PLAIN = music.Instrument(
    harmonics=1 / np.arange(1, music.HARMONICS + 1, dtype=np.float64),
    bodies=(),
    stretch=0.0,
    attack_s=0.01,
    decay_s=np.inf,
    dulling_s=np.inf,
    vibrato=0.0,
    vibrato_hz=5.0,
    glide=0.0,
    breath=0.0,
    drive=0.0,
)
BODY = ((2000.0, 0.05, 60.0),)


def note(midi, **changed):
    return music.play(dataclasses.replace(PLAIN, **changed), midi, np.random.default_rng(0), RATE_HZ, RATE_HZ)


def pitch_hz(samples):
    """By librosa's own pitch tracker."""
    return librosa.pyin(samples, fmin=100, fmax=1000, sr=RATE_HZ)[0]


@pytest.mark.parametrize("midi", [50, 57, 69.5, 76])
def test_a_note_has_the_pitch_of_its_number(midi):
    assert np.nanmedian(pitch_hz(note(midi))) == pytest.approx(librosa.midi_to_hz(midi), rel=0.01)


def test_vibrato_moves_the_pitch():
    steady, wavering = (np.nanstd(pitch_hz(note(69, vibrato=vibrato))[15:-5]) for vibrato in (0.0, 0.025))
    assert steady < 1 < 3 < wavering


def test_a_resonance_stays_where_it_is_whatever_the_note():
    """As no formant of a voice does that says something."""
    for midi in (45, 50, 57):
        loudest = max(librosa.midi_to_hz(midi) * np.arange(1, 25), key=lambda hz: level(note(midi, bodies=BODY), hz))
        assert loudest == pytest.approx(2000, rel=0.1)


def level(samples, frequency_hz):
    time_s = np.arange(len(samples)) / RATE_HZ
    return np.abs(samples @ np.exp(-2j * np.pi * frequency_hz * time_s))


def test_overtones_of_a_bell_are_not_harmonic():
    bell = note(69, stretch=0.3, dulling_s=5.0)
    assert level(bell, 440 * 2**1.3) > 10 * level(bell, 880)


def test_what_is_struck_fades_and_what_is_driven_is_full_of_overtones():
    struck = note(69, decay_s=0.2)
    assert np.abs(struck[-4000:]).max() < 0.05 * np.abs(struck[:4000]).max()

    clean, driven = (librosa.feature.spectral_centroid(y=note(57, drive=drive), sr=RATE_HZ).mean() for drive in (0.0, 20.0))
    assert driven > 1.2 * clean


def test_a_melody_stays_on_its_scale():
    song = music.Song(root=48, scale=(0, 2, 4, 7, 9), chords=(0,) * 20)
    notes = [event.play for event in music.melody(np.random.default_rng(0), song)]
    pitches = [note.args[1] for note in notes if isinstance(note, partial)]
    assert len(set(pitches)) > 4
    assert {(pitch - 48) % 12 for pitch in pitches} <= set(song.scale)


def test_drums_repeat_their_bar():
    events = music.drums(np.random.default_rng(2), music.Song(48, (0, 2, 4), (0, 0, 0)))
    bars = [
        [(e.beat - bar * music.BEATS_PER_BAR, e.play) for e in events if e.beat // music.BEATS_PER_BAR == bar] for bar in range(3)
    ]
    assert bars[0] == bars[1] == bars[2] != []
