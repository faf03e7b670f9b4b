# SPDX-License-Identifier: Apache-2.0
"""What recordings have that a model should not learn from: clipping, silence, an offset, half a band, … by label.

A fault that one label's recordings have and another's have not is the worst: it tells the labels apart without a voice.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beam_jobs.audio import AudioError, read_audio
from beam_jobs.config import SPLITS
from beam_jobs.console import progress
from beam_jobs.corpus.contents import Contents, duplicates
from beam_jobs.corpus.index import Speaker, SpeakerIndex, Utterance
from beam_jobs.corpus.splits import split_speakers
from beam_jobs.errors import UserError
from beam_jobs.labels import DEFAULT_LABELS
from beam_jobs.mixing import Samples
from beam_jobs.paths import is_uri
from beam_jobs.silence import SPEECHLESS_PEAK

MAX_EXAMINED = 2000
"""Files that are decoded, drawn evenly over the corpus: a share of faults of 1 % is found within half a per cent."""
MAX_EXAMINED_S = 30
"""What is decoded of each."""

SHORT_S = 1.0
CLIPPED_RUN, CLIPPED_RUNS, CLIPPED_SHARE = 3, 3, 1e-4
"""Samples in a row at the file's own peak; how often; and their share of the file."""
MIN_OFFSET, MIN_OFFSET_TO_RMS = 0.005, 0.1
NARROW_HZ, NARROW_RATE_HZ = 4500, 11_000
NARROW_DB = -70
FRAME = 1024

File = tuple[Speaker, Utterance]


@dataclass(frozen=True, slots=True)
class Check:
    """How many files of each label have a fault, and one of them; `of` is how many were looked at."""

    fault: str
    counts: dict[str, int]
    of: int
    example: str

    @property
    def number(self) -> int:
        """All of them."""
        return sum(self.counts.values())


def enough_for_splits(index: SpeakerIndex) -> tuple[bool, str]:
    """Whether the speakers are enough for train, eval and test, and that in a sentence.

    Two labels must have enough; those that have too few speakers are named.
    """
    counts = Counter(speaker.label for speaker in index.speakers)
    few = [label for label, count in counts.items() if count < len(SPLITS)]
    enough = [label for label in index.labels() if label not in few]
    wanted = enough if len(enough) > 1 else sorted({*counts, *DEFAULT_LABELS})
    try:
        split_speakers([speaker for speaker in index.speakers if speaker.label in wanted], seed=0, labels=wanted)
    except UserError as error:
        return False, f"not enough for three splits: {error}"
    found = ", ".join(f"{counts[label]:,} {label}" for label in enough)
    rest = f"; too few speakers of {', '.join(sorted(few))}: a typo, or a label to leave out of clips.labels" if few else ""
    return True, f"enough for three splits: {found} speakers, where 3 of each are needed{rest}"


def check_recordings(index: SpeakerIndex, contents: Contents) -> list[Check]:
    """The faults of a corpus's recordings, those that none has too; decodes a sample of the files, several at a time.

    `contents` says what each file holds (`beam_jobs.corpus.contents`).
    """
    files = [(speaker, utterance) for speaker in index.speakers for utterance in speaker.utterances]
    rates = Counter(utterance.sample_rate_hz for _, utterance in files)
    labels = index.labels()
    usual_hz = rates.most_common(1)[0][0]
    unusual = [file for file in files if file[1].sample_rate_hz != usual_hz]
    groups = duplicates(index, contents)
    twins = [file for group in groups for file in group[1:]]
    torn = [group[0] for group in groups if len({(speaker.id, speaker.label) for speaker, _ in group}) > 1]
    found = [
        _check(f"shorter than {SHORT_S:g} s", [file for file in files if file[1].duration_s < SHORT_S], len(files), labels),
        _check(f"a sample rate other than {usual_hz:,} Hz", unusual, len(files), labels),
        _check("the same bytes as another file", twins, len(files), labels),
        _check("the same bytes under two speakers or labels", torn, len(files), labels),
    ]
    return found if is_uri(index.root) else found + _examine(index.root, files, labels)


def _check(fault: str, files: Sequence[File], of: int, labels: Sequence[str]) -> Check:
    counts = Counter(speaker.label for speaker, _ in files)
    return Check(fault, {label: counts[label] for label in labels}, of, files[0][1].path if files else "")


def _examine(root: str, files: Sequence[File], labels: Sequence[str]) -> list[Check]:
    sample = files[:: -(-len(files) // MAX_EXAMINED)]

    def look(file: File) -> set[str]:
        utterance = file[1]
        length = min(utterance.num_samples, round(MAX_EXAMINED_S * utterance.sample_rate_hz))
        try:
            samples, rate_hz = read_audio(str(Path(root) / utterance.path), 0, length)
        except (AudioError, UserError):
            return {NOT_DECODED}
        return {fault for fault, has in FAULTS.items() if has(samples, rate_hz)}

    found: dict[str, list[File]] = {fault: [] for fault in (NOT_DECODED, *FAULTS)}
    with progress("checking recordings", len(sample), "files") as advance, ThreadPoolExecutor() as pool:
        try:
            for file, faults in zip(sample, pool.map(look, sample), strict=True):
                for fault in faults:
                    found[fault].append(file)
                advance()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for the rest
    return [_check(fault, having, len(sample), labels) for fault, having in found.items()]


NOT_DECODED = "damaged: cannot be decoded"


def is_silent(samples: Samples, sample_rate_hz: int) -> bool:
    """Whether it never leaves what the mixing takes for silence."""
    return bool(np.abs(samples).max() < SPEECHLESS_PEAK)


def is_too_loud(samples: Samples, sample_rate_hz: int) -> bool:
    """Whether it goes beyond full scale, as a float file may."""
    return bool(np.abs(samples).max() > 1)


def is_clipped(samples: Samples, sample_rate_hz: int) -> bool:
    """Whether its peaks are flat: several samples in a row at the highest or lowest value, again and again."""
    if is_silent(samples, sample_rate_hz):
        return False
    flat = 0
    for at_peak in (samples >= samples.max() * (1 - 1e-4), samples <= samples.min() * (1 - 1e-4)):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], at_peak, [False]]).astype(np.int8)))
        lengths = edges[1::2] - edges[::2]
        runs = lengths[lengths >= CLIPPED_RUN]
        if len(runs) >= CLIPPED_RUNS:
            flat += int(runs.sum())
    return flat >= CLIPPED_SHARE * len(samples) and flat > 0


def has_offset(samples: Samples, sample_rate_hz: int) -> bool:
    """Whether its mean is not 0 (DC offset)."""
    mean = abs(float(samples.mean(dtype=np.float64)))
    return mean > MIN_OFFSET and mean > MIN_OFFSET_TO_RMS * float(samples.std(dtype=np.float64))


def is_narrow(samples: Samples, sample_rate_hz: int) -> bool:
    """Whether it holds a telephone's band only, in a file that has room for more."""
    if sample_rate_hz < NARROW_RATE_HZ or len(samples) < FRAME or is_silent(samples, sample_rate_hz):
        return False
    whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME) * np.hanning(FRAME).astype(np.float32)
    power = np.mean(np.abs(np.fft.rfft(whole, axis=1)) ** 2, axis=0)
    above = np.arange(len(power)) * sample_rate_hz / FRAME >= NARROW_HZ
    return bool(power[above].max() < 10 ** (NARROW_DB / 10) * power[2:].max())


FAULTS: dict[str, Callable[[Samples, int], bool]] = {
    "silent": is_silent,
    "above full scale": is_too_loud,
    "clipped": is_clipped,
    "an offset (DC)": has_offset,
    f"nothing above {NARROW_HZ / 1000:g} kHz": is_narrow,
}
