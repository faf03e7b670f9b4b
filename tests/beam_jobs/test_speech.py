# SPDX-License-Identifier: Apache-2.0
"""How much of a clip is speech, against other measures of the same."""

import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from beam_jobs.corpus.index import Utterance
from beam_jobs.mixing import to_pcm16
from beam_jobs.planning import ClipPlan, Placement
from beam_jobs.rendering import read_utterance, render
from beam_jobs.speech import FRAME_S, HOP_S, speech_ratio

RATE_HZ = 16_000


def tone(seconds: float, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * 170 * time)).astype(np.float32)


@pytest.mark.parametrize("silent", [0.0, 0.25, 0.5, 0.9])
def test_silence_is_not_counted(silent):
    samples = tone(4.0)
    samples[round((1 - silent) * len(samples)) :] = 0
    assert speech_ratio(to_pcm16(samples), RATE_HZ) == pytest.approx(1 - silent, abs=0.015)


def test_level_and_quiet_noise_change_nothing():
    samples = np.concatenate([tone(1.0), np.zeros(RATE_HZ, np.float32)])
    noise = np.random.default_rng(0).normal(0, 1e-3, len(samples)).astype(np.float32)
    assert speech_ratio(to_pcm16((samples + noise).astype(np.float32)), RATE_HZ) == pytest.approx(0.5, abs=0.02)
    assert speech_ratio(to_pcm16((samples / 20).astype(np.float32)), RATE_HZ) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("pcm16", [np.zeros(RATE_HZ, np.int16), np.zeros(0, np.int16)])
def test_where_nothing_sounds_there_is_none(pcm16):
    assert speech_ratio(pcm16, RATE_HZ) == 0


def test_a_clip_shorter_than_a_frame_is_measured_too():
    assert speech_ratio(to_pcm16(tone(0.01)), RATE_HZ) == 1


def test_a_half_silent_utterance_that_covers_its_clip_is_half_speech(tmp_path):
    """What was said to be 100 % speech: the share that utterances cover."""
    samples = np.concatenate([tone(2.0), np.zeros(2 * RATE_HZ, np.float32)])
    soundfile.write(tmp_path / "1.flac", samples, RATE_HZ)
    utterance = Utterance("1-1-0001", "1.flac", len(samples), RATE_HZ)
    plan = ClipPlan("test-0", 0, "sequential", (Placement("1", 0, utterance, 0, len(samples), 0, 0.0),), 1.0, 1)

    clip = render(plan, str(tmp_path), len(samples), RATE_HZ)

    assert plan.coverage == 1
    assert clip.speech_ratio == pytest.approx(0.5, abs=0.015)


def real_voices(librispeech: Path) -> list[np.ndarray]:
    files = sorted(librispeech.rglob("*.flac"))[:40:2]
    read = (read_utterance(str(librispeech), path.relative_to(librispeech).as_posix())[0] for path in files)
    return [samples[RATE_HZ : 7 * RATE_HZ] for samples in read if len(samples) >= 7 * RATE_HZ]


@pytest.mark.skipif("LIBRISPEECH_ROOT" not in os.environ, reason="LIBRISPEECH_ROOT is not set")
def test_real_voices_have_the_share_that_librosa_and_the_models_own_mask_find():
    voices = real_voices(Path(os.environ["LIBRISPEECH_ROOT"]))
    from components.trainer.network.frames import is_loud

    frame, hop = round(FRAME_S * RATE_HZ), round(HOP_S * RATE_HZ)
    ours, of_librosa, of_model = [], [], []
    for samples in voices:
        ours.append(speech_ratio(to_pcm16(samples), RATE_HZ))
        loud = librosa.effects.split(samples, top_db=30, frame_length=frame, hop_length=hop)
        of_librosa.append(sum(end - start for start, end in loud) / len(samples))
        power = librosa.feature.melspectrogram(y=samples, sr=RATE_HZ, n_fft=frame, hop_length=hop, n_mels=64, fmin=60, fmax=7600)
        decibels = 10 * np.log10(np.maximum(power.T, 1e-10))[:, :, np.newaxis].astype(np.float32)
        of_model.append(float(tf.reduce_mean(tf.cast(is_loud(tf.constant(decibels)), tf.float32))))
    assert len(ours) >= 10
    assert min(ours) < 0.8, "recordings without pauses tell nothing"
    assert np.corrcoef(ours, of_librosa)[0, 1] > 0.85
    assert np.mean(np.abs(np.subtract(ours, of_model))) < 0.05
