# SPDX-License-Identifier: Apache-2.0
"""What a clip says about who speaks when is what is heard in it: the corpus' files are its referee, read by libsndfile."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.examples import Clip, Segment, decode_clip, encode_clip
from beam_jobs.make_shard import split_for
from beam_jobs.planning import ClipPlanner
from beam_jobs.rendering import render

RATE_HZ = 16_000
"""The corpus' own, so that nothing is resampled and a clip holds its utterances sample by sample."""

MakeClips = Callable[..., tuple[ClipsConfig, list[Clip]]]


@pytest.fixture
def make_clips(index: SpeakerIndex, make_config: Callable[..., ClipsConfig], corpus: Path) -> MakeClips:
    """A function that makes 24 training clips of 6 s."""

    def make(**settings: object) -> tuple[ClipsConfig, list[Clip]]:
        clips = make_config(sample_rate_hz=RATE_HZ, duration_s=6.0, **settings)
        planner = ClipPlanner(clips, "train", split_for(index, clips)["train"])
        # Through a record, as whoever reads a clip gets it.
        made = [render(planner.plan(k), str(corpus), clips.num_samples, RATE_HZ) for k in range(24)]
        return clips, [decode_clip(encode_clip(clip)) for clip in made]

    return make


def samples_of(clip: Clip, segment: Segment) -> slice:
    return slice(round(segment.start_s * RATE_HZ), round(segment.end_s * RATE_HZ))


def likeness(part: np.ndarray, whole: np.ndarray) -> float:
    """How alike `part` and the stretch of `whole` that is most like it are: 0 to 1."""
    product = scipy.signal.correlate(whole, part, mode="valid", method="fft")
    energy = np.convolve(whole**2, np.ones(len(part)), mode="valid")
    return float(np.max(product / np.sqrt(np.maximum(energy, 1e-9) * np.sum(part**2))))


def test_nothing_is_heard_outside_the_segments_and_each_of_them_is_heard(make_clips: MakeClips) -> None:
    _, clips = make_clips()

    for clip in clips:
        rest = clip.pcm16.copy()
        for segment in clip.segments:
            assert clip.pcm16[samples_of(clip, segment)].any()
            rest[samples_of(clip, segment)] = 0
        assert not rest.any()


def test_each_segment_of_a_sequential_clip_holds_its_own_utterance(make_clips: MakeClips, corpus: Path) -> None:
    _, clips = make_clips(simultaneous_share=0.0)

    heard = 0
    for clip in clips:
        for segment, utterance in zip(clip.segments, clip.utterance_ids, strict=True):
            part = clip.pcm16[samples_of(clip, segment)].astype(np.float64)
            if len(part) < RATE_HZ // 2:  # of a tone, a shorter stretch is like any other
                continue
            (path,) = corpus.rglob(f"{utterance}.*")
            assert likeness(part, soundfile.read(path)[0]) > 0.999
            others = [path for path in corpus.rglob("*.flac") if path.stem.split("-")[0] != utterance.split("-")[0]]
            assert likeness(part, soundfile.read(others[heard % len(others)])[0]) < 0.9
            heard += 1
    assert heard > 24


def test_segments_name_the_labels_of_their_speakers_in_order(make_clips: MakeClips, index: SpeakerIndex) -> None:
    config, clips = make_clips()
    label_of = {speaker.id: speaker.label for speaker in index.speakers}

    for clip in clips:
        assert [config.classes[segment.label] for segment in clip.segments] == [label_of[id] for id in clip.speaker_ids]
    assert {len({segment.label for segment in clip.segments}) for clip in clips if clip.label == 2} == {2}


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_a_voice_played_at_another_speed_ends_when_it_is_over(make_clips: MakeClips, speed: float) -> None:
    _, clips = make_clips(train_speed={"min": speed, "max": speed}, simultaneous_share=0.0, max_utterances=2)

    for clip in clips:
        end_s = max(segment.end_s for segment in clip.segments)
        # A tone is heard up to its last sample but for its fade.
        assert np.flatnonzero(np.abs(clip.pcm16) > 2)[-1] / RATE_HZ == pytest.approx(end_s, abs=0.1)
