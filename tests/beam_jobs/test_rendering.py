# SPDX-License-Identifier: Apache-2.0
"""A plan becomes exactly the samples that it describes, wherever the corpus lies."""

import io
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from apache_beam.io.filesystem import FileSystem

from beam_jobs.audio import ffmpeg_is_there
from beam_jobs.channel import Channel, Codec, Room
from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.index import SpeakerIndex, Utterance
from beam_jobs.make_shard import split_for
from beam_jobs.mixing import block_energies, rms_dbfs
from beam_jobs.planning import ClipPlan, ClipPlanner, Placement
from beam_jobs.rendering import UnusableUtteranceError, render
from beam_jobs.silence import QUIETEST_CLIP_DBFS
from beam_jobs.variants import TrainChannel, TrainVoice
from beam_jobs.voice import Voice

RATE_HZ = 16_000


class RemoteStore(FileSystem):
    """An object store as Beam sees one: no paths that libsndfile could open, only streams."""

    @classmethod
    def scheme(cls) -> str:
        return "remotetest"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def open(self, path: str, mime_type: str = "", compression_type: str = "") -> io.BytesIO:
        return io.BytesIO(Path(path.removeprefix("remotetest:/")).read_bytes())

    def exists(self, path: str) -> bool:
        return Path(path.removeprefix("remotetest:/")).exists()

    def _unsupported(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    split = mkdirs = has_dirs = create = copy = rename = size = last_updated = checksum = metadata = delete = _list = _unsupported


def write(root: Path, id: str, samples: np.ndarray, rate_hz: int = RATE_HZ, name: str = "flac") -> Utterance:
    soundfile.write(root / f"{id}.{name}", samples, rate_hz)
    return Utterance(id, f"{id}.{name}", len(samples), rate_hz)


def plan_of(*placements: Placement) -> ClipPlan:
    return ClipPlan("train-0000000", 0, "sequential", placements, 0.5, 1)


def whole(utterance: Utterance, start: int = 0, gain_db: float = 0.0) -> Placement:
    return Placement("1", 0, utterance, 0, utterance.num_samples, start, gain_db)


@pytest.fixture
def speech(make_tone: Callable[..., np.ndarray]) -> np.ndarray:
    return make_tone(120, 1.0)


def test_gain_offset_and_start(tmp_path: Path, speech: np.ndarray) -> None:
    utterance = write(tmp_path, "a", speech)
    placement = Placement("7", 0, utterance, 4_000, 8_000, 2_000, -20.0)

    clip = render(plan_of(placement), str(tmp_path), 12_000, RATE_HZ)

    assert not clip.pcm16[:2_000].any()
    assert not clip.pcm16[10_000:].any()
    assert clip.pcm16[2_000:10_000] == pytest.approx(speech[4_000:12_000] * 3276.8, abs=1)
    assert (clip.speaker_ids, clip.utterance_ids, clip.sample_rate_hz) == (("7",), ("a",), RATE_HZ)
    assert clip.rms_dbfs == rms_dbfs(block_energies(clip.pcm16, 1000).sum(), len(clip.pcm16))


def test_a_voice_played_faster_is_shorter_and_higher(tmp_path: Path) -> None:
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    utterance = write(tmp_path, "a", 0.5 * np.sin(2 * np.pi * 200 * time_s))

    clip = render(plan_of(Placement("7", 0, utterance, 0, 2 * RATE_HZ, 0, 0.0, speed=1.25)), str(tmp_path), 2 * RATE_HZ, RATE_HZ)

    length = 2 * RATE_HZ / 1.25
    assert np.flatnonzero(np.abs(clip.pcm16) > 50)[-1] == pytest.approx(length, abs=100)
    spectrum = np.abs(np.fft.rfft(clip.pcm16[: int(length)]))
    assert spectrum.argmax() * RATE_HZ / int(length) == pytest.approx(250, abs=1)


VOICE = Voice(pitch_hz=220, intonation=1, formants=1.03, first_formant=0.1, tilt_db_per_octave=3)
CHANNEL = Channel(Room(0.4, 6, 0.004, 4_000, seed=1), 0.99, Codec("mp3", 16_000, 0.5, 0.8))


def strongest_hz(samples: np.ndarray) -> float:
    return np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * RATE_HZ / len(samples)


@pytest.mark.parametrize("file_rate_hz", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("speed", [1.0, 1.25])
def test_a_changed_voice_has_its_pitch_place_and_gain_whatever_the_rate(
    tmp_path: Path, make_tone: Callable[..., np.ndarray], file_rate_hz: int, speed: float
) -> None:
    utterance = write(tmp_path, "a", make_tone(120, 2.0, sample_rate_hz=file_rate_hz), file_rate_hz)
    plain = Placement("7", 0, utterance, 0, utterance.num_samples, 4_000, -20.0, speed)

    before = render(plan_of(plain), str(tmp_path), 40_000, RATE_HZ)
    after = render(plan_of(replace(plain, voice=VOICE, channel=CHANNEL)), str(tmp_path), 40_000, RATE_HZ)

    assert strongest_hz(before.pcm16) == pytest.approx(120 * speed, rel=0.05)
    assert strongest_hz(after.pcm16) == pytest.approx(220, rel=0.05)  # the tone wavers by 4 %
    assert after.rms_dbfs == pytest.approx(before.rms_dbfs, abs=0.1)
    stop = 4_000 + round(2 / speed * RATE_HZ)
    assert not after.pcm16[:4_000].any()
    assert not after.pcm16[stop + 2 :].any()
    assert after.pcm16[stop - 800 : stop].any()


def test_a_voice_without_changes_beside_one_with_them_stays_as_it_is(tmp_path: Path, speech: np.ndarray) -> None:
    plain, changed = (whole(write(tmp_path, name, speech), start, -9) for name, start in (("a", 0), ("b", 20_000)))

    clip = render(plan_of(plain, replace(changed, voice=VOICE, channel=CHANNEL)), str(tmp_path), 40_000, RATE_HZ)
    alone = render(plan_of(plain), str(tmp_path), 40_000, RATE_HZ)

    assert np.array_equal(clip.pcm16[:20_000], alone.pcm16[:20_000])
    assert not np.array_equal(clip.pcm16[20_000:36_000], clip.pcm16[:16_000])


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050])
def test_changed_clips_have_the_exact_length(
    index: SpeakerIndex, make_config: Callable[..., ClipsConfig], corpus: Path, rate_hz: int
) -> None:
    clips = make_config(sample_rate_hz=rate_hz, train_voice=TrainVoice(share=1), train_channel=TrainChannel(share=1))
    planner = ClipPlanner(clips, "train", split_for(index, clips)["train"])

    for k in range(6):
        clip = render(planner.plan(k), str(corpus), clips.num_samples, rate_hz)
        assert clip.pcm16.shape == (3 * rate_hz,)
        assert clip.pcm16.any()


def test_voices_together_are_the_sum_of_each_alone(tmp_path: Path, make_tone: Callable[..., np.ndarray]) -> None:
    def fading(name: str, duration_s: float, rate_hz: int = RATE_HZ, start: int = 0) -> Placement:
        samples = make_tone(120, duration_s, sample_rate_hz=rate_hz)
        return whole(write(tmp_path, name, samples * np.hanning(len(samples)), rate_hz), start, gain_db=-9)

    first, second, other = fading("a", 1.0), fading("b", 0.5), fading("c", 0.7, 44_100, start=3_000)

    together = render(plan_of(first, second, other), str(tmp_path), 11_025, 11_025).pcm16
    alone = [render(plan_of(item), str(tmp_path), 11_025, 11_025).pcm16.astype(int) for item in (first, second, other)]

    assert together == pytest.approx(sum(alone), abs=3)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 48_000])
def test_every_clip_has_the_exact_length(
    index: SpeakerIndex, make_config: Callable[..., ClipsConfig], corpus: Path, rate_hz: int
) -> None:
    clips = make_config(sample_rate_hz=rate_hz)
    planner = ClipPlanner(clips, "train", split_for(index, clips)["train"])

    for k in range(6):
        clip = render(planner.plan(k), str(corpus), clips.num_samples, rate_hz)
        assert (clip.pcm16.dtype, clip.pcm16.shape) == (np.int16, (3 * rate_hz,))
        assert clip.pcm16.any()


def test_a_remote_corpus_gives_the_same_clips(index: SpeakerIndex, make_config: Callable[..., ClipsConfig], corpus: Path) -> None:
    clips = make_config()
    planner = ClipPlanner(clips, "train", split_for(index, clips)["train"])

    for k in range(6):
        local = render(planner.plan(k), str(corpus), clips.num_samples, clips.sample_rate_hz)
        remote = render(planner.plan(k), f"remotetest:/{corpus}", clips.num_samples, clips.sample_rate_hz)
        assert np.array_equal(remote.pcm16, local.pcm16)


@pytest.mark.parametrize("remote", ["", "remotetest:/"])
def test_silence_only_is_unusable(tmp_path: Path, remote: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.001, 0.001, RATE_HZ)
    utterance = write(tmp_path, "quiet", noise)

    with pytest.raises(UnusableUtteranceError) as caught:
        render(plan_of(whole(utterance)), f"{remote}{tmp_path}", RATE_HZ, RATE_HZ)

    error = caught.value
    assert (error.utterance_id, error.path, error.reason) == ("quiet", "quiet.flac", "holds silence only")


def test_a_part_that_is_only_a_pause_is_drawn_again_without_condemning_the_file(tmp_path: Path, speech: np.ndarray) -> None:
    speech[:8_000] = 0
    utterance = write(tmp_path, "a", speech)

    with pytest.raises(UnusableUtteranceError) as caught:
        render(plan_of(Placement("1", 0, utterance, 0, 8_000, 0, 0.0)), str(tmp_path), RATE_HZ, RATE_HZ)

    assert not caught.value.whole


@pytest.mark.parametrize("remote", ["", "remotetest:/"])
def test_a_file_that_is_gone_is_unusable(tmp_path: Path, speech: np.ndarray, remote: str) -> None:
    utterance = write(tmp_path, "a", speech)
    (tmp_path / utterance.path).unlink()

    with pytest.raises(UnusableUtteranceError, match=r"a\.flac"):
        render(plan_of(whole(utterance)), f"{remote}{tmp_path}", RATE_HZ, RATE_HZ)


def loudness_lufs(samples: np.ndarray) -> float:
    """By ffmpeg's EBU R 128 meter: a referee that this project did not make."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    command = ["ffmpeg", "-hide_banner", "-nostats", "-i", "-", "-af", "ebur128", "-f", "null", "-"]
    said = subprocess.run(command, input=buffer.getvalue(), capture_output=True, check=True).stderr.decode()
    return float(re.findall(r"I:\s+(-?[\d.]+) LUFS", said)[-1])


@pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH (Debian: apt install ffmpeg)")
@pytest.mark.parametrize("soft", [0.01, 0.03, 0.3])
@pytest.mark.parametrize("balance_db", [0.0, 6.0, 10.0])
def test_neither_voice_of_a_mixed_clip_drowns_the_other(
    tmp_path: Path, make_tone: Callable[..., np.ndarray], soft: float, balance_db: float
) -> None:
    loud = write(tmp_path, "loud", 1.8 * make_tone(120, 2.0))
    quiet = write(tmp_path, "quiet", soft * make_tone(210, 2.0), name="wav")
    plan = plan_of(replace(whole(loud), label=0), replace(whole(quiet, start=2 * RATE_HZ), label=1))

    clip = render(plan, str(tmp_path), 4 * RATE_HZ, RATE_HZ, balance_db)

    apart_lu = loudness_lufs(clip.pcm16[: 2 * RATE_HZ]) - loudness_lufs(clip.pcm16[2 * RATE_HZ :])
    assert apart_lu == pytest.approx(min(balance_db, 20 * np.log10(1.8 / soft)), abs=2)


def test_voices_at_once_are_balanced_too(tmp_path: Path, make_tone: Callable[..., np.ndarray]) -> None:
    loud, soft = 1.8 * make_tone(120, 2.0), 0.01 * make_tone(217, 2.0)
    plan = plan_of(replace(whole(write(tmp_path, "a", loud)), label=0), replace(whole(write(tmp_path, "b", soft)), label=1))

    pcm16 = render(plan, str(tmp_path), 2 * RATE_HZ, RATE_HZ, balance_db=6.0).pcm16

    correlations = [np.corrcoef(pcm16, samples)[0, 1] for samples in (loud, soft)]
    assert correlations == pytest.approx([np.sqrt(0.8), np.sqrt(0.2)], abs=0.03)


@pytest.mark.parametrize(("scale", "hint"), [(4.5, ""), (32768.0, "; a float file of 16-bit values? Divide them by 32768")])
def test_float_samples_of_another_scale_are_named(tmp_path: Path, speech: np.ndarray, scale: float, hint: str) -> None:
    soundfile.write(tmp_path / "a.wav", speech / np.abs(speech).max() * scale, RATE_HZ, subtype="FLOAT")

    with pytest.raises(UnusableUtteranceError) as caught:
        render(plan_of(whole(Utterance("a", "a.wav", len(speech), RATE_HZ))), str(tmp_path), RATE_HZ, RATE_HZ)

    assert caught.value.reason == f"its samples reach {scale:,.0f} times full scale{hint}"
    assert caught.value.whole


def test_float_samples_a_little_above_full_scale_are_used(tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", speech / np.abs(speech).max() * 2, RATE_HZ, subtype="FLOAT")

    clip = render(plan_of(whole(Utterance("a", "a.wav", len(speech), RATE_HZ))), str(tmp_path), RATE_HZ, RATE_HZ)

    assert np.abs(clip.pcm16).max() == 32766


def test_no_clip_is_quieter_than_the_schema_takes(tmp_path: Path, speech: np.ndarray) -> None:
    """One bound for those who make clips, those who check them and those who make them louder."""
    schema = (Path(__file__).parents[2] / "pipeline/schema/schema.pbtxt").read_text()
    assert float(re.search(r'"clip/rms_dbfs".*?min: (\S+)', schema, re.DOTALL)[1]) == QUIETEST_CLIP_DBFS
    utterance = write(tmp_path, "a", 0.005 * speech)

    assert render(plan_of(whole(utterance, gain_db=-20)), str(tmp_path), RATE_HZ, RATE_HZ).rms_dbfs > QUIETEST_CLIP_DBFS
    with pytest.raises(UnusableUtteranceError, match="too quiet for a clip at -45 dB") as caught:
        render(plan_of(whole(utterance, gain_db=-45)), str(tmp_path), RATE_HZ, RATE_HZ)
    assert not caught.value.whole
