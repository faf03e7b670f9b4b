# SPDX-License-Identifier: Apache-2.0
"""What models are asked about: recordings at 16 kHz with their label and their speakers, a file for each set.

They are made once and then asked of every model, the referee in its own environment too.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from beam_jobs.audio import read_audio, resample
from beam_jobs.config import ClipsConfig, NumClips, SplitShares
from beam_jobs.console import progress
from beam_jobs.corpus.index import Speaker, SpeakerIndex
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.examples import decode_clip, read_records
from beam_jobs.generate_clips import generate_clips
from components.robustness.config import NAMES, STRENGTHS, Degradation, Strength
from components.robustness.degradations import degradations, generator

RATE_HZ = 16000
LENGTHS_S = (1, 2, 3, 5)
CLEAN = "10 s"
WHOLE = "whole"
FIRST_S = 10
DEGRADED_S = 5
CLIP_LENGTHS_S = (60, 10)
HELD_OUT_SHARES = SplitShares(train=0.9, eval=0.0999, test=0.0001)
"""Of the speakers who are not fixed to the test split; none of them rounds into it."""
DEGRADED = {f"{name.replace('_', ' ')} {strength}": (name, strength) for name in NAMES for strength in STRENGTHS}
VOICE_SETS = (CLEAN, WHOLE, *(f"{length_s} s" for length_s in LENGTHS_S), *DEGRADED)
"""Names of the sets that each corpus's voices make, in the order of tables."""
SPEECH_LEVEL = 0.05
"""Above it a sample is not louder speech, when the part with most speech is looked for."""


class Recording(NamedTuple):
    """Float32 samples at 16 kHz, the label's name, and who is heard."""

    samples: np.ndarray
    label: str
    speakers: tuple[str, ...]


@dataclass(frozen=True)
class RecordingSet:
    """A set in a file; the samples are read when they are asked for."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def features(self) -> Path:
        """Where the linear model keeps its features of the recordings."""
        return self.path.with_suffix(".features.npy")

    def write(self, recordings: Sequence[Recording]) -> None:
        """Writes 16-bit samples, one recording behind another; nobody sees half a file."""
        parts = [np.rint(np.clip(recording.samples, -1, 1) * 32767).astype(np.int16) for recording in recordings]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            np.savez(
                file,
                pcm16=np.concatenate(parts),
                lengths=[len(part) for part in parts],
                labels=[recording.label for recording in recordings],
                speakers=["\n".join(recording.speakers) for recording in recordings],
            )
        unfinished.rename(self.path)

    def read(self) -> list[Recording]:
        """All recordings, in the order in which they were written."""
        with np.load(self.path) as file:
            ends = np.cumsum(file["lengths"])
            parts = np.split(file["pcm16"], ends[:-1])
            rows = zip(parts, file["labels"], file["speakers"], strict=True)
            return [
                Recording((pcm16 / np.float32(32767)).astype(np.float32), str(label), tuple(str(speakers).split("\n")))
                for pcm16, label, speakers in rows
            ]


def sets_in(*folders: Path) -> list[RecordingSet]:
    """The sets of some folders: those of voices as in `VOICE_SETS`, then the others by name."""
    found = [RecordingSet(path) for folder in folders for path in sorted(folder.glob("*.npz"))]
    return sorted(found, key=lambda one: VOICE_SETS.index(one.name) if one.name in VOICE_SETS else len(VOICE_SETS))


def read_voices(index: SpeakerIndex, speakers: Iterable[Speaker], of_each: int | None = 1) -> list[Recording]:
    """The first utterances of each of these speakers, or all, as long as they are."""
    voices = []
    for speaker in speakers:
        for utterance in speaker.utterances[:of_each]:
            samples, rate_hz = read_audio(f"{index.root}/{utterance.path}")
            voices.append(Recording(resample(samples, rate_hz, RATE_HZ), speaker.label, (speaker.id,)))
    return voices


def write_voice_sets(folder: Path, voices: Sequence[Recording], names: Sequence[str] = VOICE_SETS) -> None:
    """The first ten seconds, shorter parts and the whole of each voice, and each degradation at each strength.

    A set that is there stays. The shorter parts are those with most speech, so that none is a pause.
    """
    makers: dict[str, Callable[[Recording], Recording]] = {CLEAN: partial(_first, seconds=FIRST_S), WHOLE: lambda voice: voice}
    makers |= {f"{length_s} s": partial(_busiest, seconds=length_s) for length_s in LENGTHS_S}
    makers |= {set_name: partial(_degraded, *which, voices) for set_name, which in DEGRADED.items()}
    missing = [(RecordingSet(folder / f"{name}.npz"), makers[name]) for name in names]
    missing = [(target, make) for target, make in missing if not target.path.exists()]
    with progress("making recordings", len(missing), "sets") as advance:
        for target, make in missing:
            target.write([make(voice) for voice in voices])
            advance(1)


def write_open_set(folder: Path, root: Path) -> None:
    """The first ten seconds of every utterance of another corpus, as a set of its folder's name."""
    target = RecordingSet(folder / f"{root.name}.npz")
    if not target.path.exists():
        index = read_corpus(root)
        voices = read_voices(index, index.speakers, of_each=None)
        # Its speakers' names may be those of others in the corpus that trains.
        target.write([_first(voice, FIRST_S)._replace(speakers=(f"{root.name}/{voice.speakers[0]}",)) for voice in voices])


def write_clip_sets(folder: Path, index: SpeakerIndex, test: Collection[str], classes: Sequence[str], number: int) -> None:
    """Clips of up to six voices of the speakers `test`, of 60 s and of 10 s; a third of them mixed where that is a class."""
    index = with_test_speakers(index, test)
    for duration_s in CLIP_LENGTHS_S:
        target = RecordingSet(folder / f"clips {duration_s} s.npz")
        if target.path.exists():
            continue
        clips = ClipsConfig(
            duration_s=float(duration_s),
            sample_rate_hz=RATE_HZ,
            num_clips=NumClips(train=1, eval=1, test=number),
            # One clip each is made of the other two, and each must hold enough utterances for it.
            split_shares=SplitShares(train=0.5, eval=0.4999, test=0.0001),
            mixed_share=1 / 3 if "mixed" in classes else 0.0,
        )
        with TemporaryDirectory() as scratch:
            generate_clips(clips, index, scratch)
            records = [decode_clip(record) for record in _records(Path(scratch) / "test")]
        target.write(
            [
                Recording(clip.pcm16 / np.float32(32768), clips.classes[clip.label], tuple(sorted(set(clip.speaker_ids))))
                for clip in records
            ]
        )


def with_test_speakers(index: SpeakerIndex, test: Collection[str]) -> SpeakerIndex:
    """The corpus with these speakers fixed to the test split and all others left open; see `HELD_OUT_SHARES`."""
    speakers = (replace(speaker, split="test" if speaker.id in test else None) for speaker in index.speakers)
    return replace(index, speakers=tuple(speakers))


def _records(folder: Path) -> Iterator[bytes]:
    for shard in sorted(folder.glob("*.tfrecord")):
        with shard.open("rb") as file:
            yield from read_records(file)


def _first(voice: Recording, seconds: float) -> Recording:
    return voice._replace(samples=voice.samples[: round(seconds * RATE_HZ)])


def _busiest(voice: Recording, seconds: float) -> Recording:
    speech = np.cumsum(np.minimum(np.abs(voice.samples), SPEECH_LEVEL), dtype=np.float64)
    length = round(seconds * RATE_HZ)
    start = int(np.argmax(speech[length:] - speech[:-length])) if len(speech) > length else 0
    return voice._replace(samples=voice.samples[start : start + length])


def _degraded(name: Degradation, strength: Strength, voices: Sequence[Recording], voice: Recording) -> Recording:
    part, others = _busiest(voice, DEGRADED_S), [other.samples for other in voices if other.speakers != voice.speakers]
    rng = generator(name, strength, *voice.speakers)
    return part._replace(samples=degradations(others)[name](part.samples, RATE_HZ, strength, rng))
