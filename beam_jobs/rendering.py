# SPDX-License-Identifier: Apache-2.0
"""Rendering a planned clip: decode the parts that it uses, change the voices that it changes, resample, mix."""

import io
from collections import defaultdict

from beam_jobs.audio import AudioError, read_audio, resample
from beam_jobs.channel import apply_channel
from beam_jobs.config import DEFAULT_BALANCE_DB
from beam_jobs.corpus.index import Utterance
from beam_jobs.examples import Clip, Segment
from beam_jobs.files import open_file
from beam_jobs.filesystems import FileSystems, LocalFileSystem
from beam_jobs.mixing import Samples, add_up, balance, block_energies, db_to_amplitude, limit, rms_dbfs, to_pcm16
from beam_jobs.planning import ClipPlan, Placement
from beam_jobs.silence import QUIETEST_CLIP_DBFS, SPEECHLESS_PEAK
from beam_jobs.speech import block_samples, mask_of, speech_ratio
from beam_jobs.voice import MIN_SAMPLE_RATE_HZ, change_voice

HIGHEST_PEAK = 4.0
"""Of full scale. Float files may leave it, as does what MP3 decodes to, but speech 12 dB above it is of another scale."""


class UnusableUtteranceError(Exception):
    """An utterance of a plan cannot be used; the clip has to be drawn again without it.

    `whole` says whether the file is of no use at all, or only the part that was drawn.
    """

    def __init__(self, utterance: Utterance, reason: str, whole: bool = True) -> None:
        super().__init__(f"{utterance.path}: {reason}")
        self.utterance_id = utterance.id
        self.path = utterance.path
        self.reason = reason
        self.whole = whole


def render(
    plan: ClipPlan, corpus_root: str, num_samples: int, sample_rate_hz: int, balance_db: float = DEFAULT_BALANCE_DB
) -> Clip:
    """Makes the clip that `plan` describes: `num_samples` samples at `sample_rate_hz`.

    Where voices of two labels are in it, those of neither are more than `balance_db` louder than those of the other, measured as
    they are heard in the clip: what is louder is made softer. Speakers are recorded at levels of their own, and a voice that
    nobody can hear is no voice.

    Raises:
        UnusableUtteranceError: a file of the plan cannot be decoded, is silent or no audio by its level, or makes a clip that is
            too quiet.

    """
    # Voices of a label that start together are added up at their own rate and resampled once.
    together: dict[tuple[int, int, int], list[Samples]] = defaultdict(list)
    for placement in plan.placements:
        samples, rate_hz = _read_speech(placement, corpus_root)
        rate_hz = round(rate_hz * placement.speed)
        if placement.voice or placement.channel:
            samples, rate_hz = _change(placement, samples, rate_hz, sample_rate_hz)
        samples *= db_to_amplitude(placement.gain_db)
        together[placement.label, placement.start, rate_hz].append(samples)
    segments: dict[int, list[tuple[int, Samples]]] = defaultdict(list)
    for (label, start, rate_hz), parts in together.items():
        voices = parts[0] if len(parts) == 1 else _sum(parts)
        segments[label].append((start, resample(voices, rate_hz, sample_rate_hz)))
    by_label = [add_up(several, num_samples) for several in segments.values()]
    if len(by_label) > 1:
        balance(by_label, sample_rate_hz, balance_db)
    pcm16 = to_pcm16(limit(_sum(by_label)))
    energies = block_energies(pcm16, block_samples(sample_rate_hz))
    level_dbfs = rms_dbfs(energies.sum(), num_samples)
    if level_dbfs <= QUIETEST_CLIP_DBFS:
        quiet = plan.placements[0]
        reason = f"too quiet for a clip at {quiet.gain_db:.0f} dB"
        raise UnusableUtteranceError(quiet.utterance, reason, whole=False)
    return Clip(
        id=plan.id,
        label=plan.label,
        mode=plan.mode,
        speaker_ids=tuple(placement.speaker_id for placement in plan.placements),
        utterance_ids=tuple(placement.utterance.id for placement in plan.placements),
        rms_dbfs=level_dbfs,
        speech_ratio=speech_ratio(pcm16, sample_rate_hz),
        sample_rate_hz=sample_rate_hz,
        pcm16=pcm16,
        speech_mask=mask_of(energies, num_samples, sample_rate_hz),
        segments=tuple(_segment(placement, num_samples, sample_rate_hz) for placement in plan.placements),
    )


def _segment(placement: Placement, num_samples: int, sample_rate_hz: int) -> Segment:
    start_s = placement.start / sample_rate_hz
    return Segment(placement.label, start_s, min(start_s + placement.duration_s, num_samples / sample_rate_hz))


def _change(placement: Placement, samples: Samples, rate_hz: int, clip_rate_hz: int) -> tuple[Samples, int]:
    # At no higher rate than what is heard in the clip, for the work that it takes.
    work_rate_hz = max(MIN_SAMPLE_RATE_HZ, min(rate_hz, clip_rate_hz))
    changed = resample(samples, rate_hz, work_rate_hz)
    if placement.voice:
        changed = change_voice(changed, work_rate_hz, placement.voice)
    if placement.channel:
        changed = apply_channel(changed, work_rate_hz, placement.channel)
    return changed, work_rate_hz


def _sum(parts: list[Samples]) -> Samples:
    """Adds all parts to the longest."""
    total = max(parts, key=len)
    for part in parts:
        if part is not total:
            total[: len(part)] += part
    return total


def _read_speech(placement: Placement, corpus_root: str) -> tuple[Samples, int]:
    utterance = placement.utterance
    try:
        samples, rate_hz = read_utterance(corpus_root, utterance.path, placement.offset, placement.num_samples)
        peak = _peak(samples)
        silent = peak < SPEECHLESS_PEAK
        wholly_silent = silent and _peak(read_utterance(corpus_root, utterance.path)[0]) < SPEECHLESS_PEAK
    except AudioError as error:
        raise UnusableUtteranceError(utterance, str(error)) from None
    if silent:
        raise UnusableUtteranceError(utterance, "holds silence only", wholly_silent)
    if peak > HIGHEST_PEAK:
        scale = "; a float file of 16-bit values? Divide them by 32768" if 256 < peak < 2 * 32768 else ""
        raise UnusableUtteranceError(utterance, f"its samples reach {peak:,.0f} times full scale{scale}")
    return samples, rate_hz


def _peak(samples: Samples) -> float:
    return float(max(samples.max(), -samples.min()))


def read_utterance(corpus_root: str, utterance: str, offset: int = 0, num_samples: int = -1) -> tuple[Samples, int]:
    """Decodes a file of a corpus on any of Beam's filesystems; `utterance` is its path there. As `read_audio` for the rest."""
    path = FileSystems.join(corpus_root, *utterance.split("/"))
    if isinstance(FileSystems.get_filesystem(path), LocalFileSystem):
        return read_audio(path, offset, num_samples)  # libsndfile reads only the part it needs
    try:
        # Whole, and before it is decoded: inside libsndfile a lost connection would look like a damaged file, and the clip
        # would be another one than on a better day.
        with open_file(path) as file:
            content = file.read()
    except Exception:
        if FileSystems.exists(path):
            raise
        raise AudioError("is not there") from None
    return read_audio(io.BytesIO(content), offset, num_samples, path)
