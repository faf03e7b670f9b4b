# SPDX-License-Identifier: Apache-2.0
"""A demo corpus spoken by espeak-ng, in LibriSpeech's layout: it shows that the pipeline works, not how well.

espeak-ng is GPL-3.0 and this project Apache-2.0: only `_espeak` below imports it, from the optional extra `synth`.
"""

import ctypes
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from beam_jobs.corpus.sentences import SENTENCES
from beam_jobs.errors import UserError

SUBSET = "synth"
CHAPTER = "1"
SAMPLE_RATE_HZ = 16_000

# espeak-ng loads an accent by the name of its file, and British English lies in "en": there is no "en-gb".
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
VARIANTS = {
    "female": ("f1", "f2", "f3", "f4", "f5", "Annie", "linda"),
    "male": ("m1", "m2", "m3", "m4", "m5", "m6", "m7"),
}
# espeak-ng's pitch parameter, mean and deviation, on top of each variant's own base: measured median F0 of 138 to 295 Hz
# for female and 80 to 164 Hz for male speakers, so that a threshold on pitch alone is not quite enough.
PITCHES = {"female": (42, 14), "male": (62, 14)}

HEADER = """\
; A demo corpus spoken by espeak-ng, in LibriSpeech's layout; made by `audio-gender corpus synth`.
;
;ID  |SEX| SUBSET           |MINUTES| NAME
"""


@dataclass(frozen=True, slots=True)
class Voice:
    """One demo speaker, as espeak-ng is told to speak. `pitch` and `pitch_range` are espeak-ng's own 0 to 99."""

    id: str
    label: str
    accent: str
    variant: str
    pitch: int
    pitch_range: int
    rate_wpm: int


Say = Callable[[Voice, str], NDArray[np.int16]]


def cast_voices(num_speakers: int, seed: int) -> list[Voice]:
    """Draws the speakers, female and male in turn; the first n are the same however many follow."""
    voices = []
    for k in range(num_speakers):
        label = ("female", "male")[k % 2]
        draw = random.Random(f"voice/{seed}/{k}")  # noqa: S311 (not for secrets)
        variants = VARIANTS[label]
        # 7 variants and 8 accents have no common divisor: the first 56 speakers of a label differ in one or the other.
        turn = k // 2 + seed
        voices.append(
            Voice(
                id=str(1001 + k),
                label=label,
                accent=ACCENTS[turn % len(ACCENTS)],
                variant=variants[turn % len(variants)],
                pitch=max(5, min(round(draw.gauss(*PITCHES[label])), 95)),
                pitch_range=draw.randint(35, 75),
                rate_wpm=draw.randint(155, 185),
            )
        )
    return voices


def synthesise_corpus(
    dest: Path,
    num_speakers: int = 40,
    utterances_per_speaker: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a corpus of spoken sentences: 16 kHz, 16-bit mono FLAC, 3 to 12 s each, the same bytes for the same seed.

    The corpus is made beside `dest` and renamed into place when it is whole.

    Args:
        dest: a folder that does not exist yet or is empty.
        num_speakers: at least 2; every other one is female.
        utterances_per_speaker: at least 1.
        seed: of voices and sentences.
        progress: called with (utterances done, utterances in all).

    Raises:
        UserError: `dest` is not empty or not writable, a number is too small, or espeak-ng is not installed.

    """
    if num_speakers < 2 or utterances_per_speaker < 1:
        raise UserError(
            f"{num_speakers} speakers with {utterances_per_speaker} utterances each are too few for a corpus; "
            "ask for at least 2 speakers and 1 utterance"
        )
    # A link is followed, because the rename would otherwise meet the link and not its folder.
    dest = Path(dest).resolve()
    if dest.exists() and not (dest.is_dir() and not any(dest.iterdir())):
        raise UserError(f"{dest}: already exists and is not an empty folder; remove it or name another")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{dest.name}-", dir=dest.parent) as temp, _espeak() as say:
            partial = Path(temp) / dest.name
            _write_corpus(partial, cast_voices(num_speakers, seed), utterances_per_speaker, seed, say, progress)
            partial.rename(dest)
    except (OSError, soundfile.SoundFileError) as error:
        raise UserError(f"{dest}: cannot be written ({error}); free space or name another folder") from error


def _write_corpus(
    root: Path,
    voices: list[Voice],
    utterances_per_speaker: int,
    seed: int,
    say: Say,
    progress: Callable[[int, int], None] | None,
) -> None:
    lines = []
    for number, voice in enumerate(voices):
        folder = root / SUBSET / voice.id / CHAPTER
        folder.mkdir(parents=True)
        draw = random.Random(f"sentences/{seed}/{voice.id}")  # noqa: S311 (not for secrets)
        num_samples = 0
        for k in range(utterances_per_speaker):
            samples = say(voice, " ".join(draw.sample(SENTENCES, draw.randint(1, 2))))
            soundfile.write(folder / f"{voice.id}-{CHAPTER}-{k:04d}.flac", samples, SAMPLE_RATE_HZ, subtype="PCM_16")
            num_samples += len(samples)
            if progress:
                progress(number * utterances_per_speaker + k + 1, len(voices) * utterances_per_speaker)
        minutes = num_samples / SAMPLE_RATE_HZ / 60
        sex = voice.label[0].upper()
        lines.append(f"{voice.id:<4} | {sex} | {SUBSET:<16} | {minutes:>5.2f} | {voice.accent}+{voice.variant}\n")
    (root / "SPEAKERS.TXT").write_text(HEADER + "".join(lines), encoding="utf-8")


# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


@contextmanager
def _espeak() -> Iterator[Say]:
    """Loads espeak-ng and gives a function that speaks a text: int16 samples at `SAMPLE_RATE_HZ`."""
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            "a demo corpus is spoken by espeak-ng, which is not installed; "
            "`make setup` installs it, or synth.lock beside the wheel"
        ) from None

    with tempfile.TemporaryDirectory() as temp:
        # espeak-ng is one engine for the whole process, and even after espeak_Terminate its static variables (flutter,
        # wave phase) colour the next voice. A copy of the library has variables of its own: what was said before, or is
        # being said elsewhere in the process, changes nothing.
        engine = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), temp))
        # espeak-ng ignores a path of 160 or more characters, which a virtual environment may well have.
        data = Path(temp) / "espeak-ng-data"
        data.symlink_to(espeakng_loader.get_data_path())
        rate_hz = engine.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, str(data).encode(), _INITIALIZE_DONT_EXIT)
        if rate_hz <= 0:
            raise UserError(f"{data}: espeak-ng cannot read its voices there; set TMPDIR to a folder with a short path")
        # espeak_Initialize seeds the breath noise from the clock.
        engine.espeak_ng_SetRandSeed(ctypes.c_long(1))
        chunks: list[bytes] = []

        @_CALLBACK
        def collect(samples: int | None, num_samples: int, _events: int | None) -> int:
            if samples:
                chunks.append(ctypes.string_at(samples, 2 * num_samples))
            return 0

        def say(voice: Voice, text: str) -> NDArray[np.int16]:
            chunks.clear()
            encoded = text.encode()
            status = (
                engine.espeak_SetVoiceByName(f"{voice.accent}+{voice.variant}".encode())
                or engine.espeak_SetParameter(_RATE, voice.rate_wpm, 0)
                or engine.espeak_SetParameter(_PITCH, voice.pitch, 0)
                or engine.espeak_SetParameter(_RANGE, voice.pitch_range, 0)
                or engine.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, _CHARS_UTF8, None, None)
            )
            if status:
                raise RuntimeError(f"espeak-ng cannot speak {voice}: status {status}")
            spoken = np.frombuffer(b"".join(chunks), np.int16).astype(np.float32)
            # In float32: soxr dithers int16, with a seed from the clock.
            resampled = soxr.resample(spoken, rate_hz, SAMPLE_RATE_HZ)
            return np.rint(resampled).clip(-32768, 32767).astype(np.int16)

        engine.espeak_SetSynthCallback(collect)
        try:
            # Ctrl-C reaches the main thread alone; inside `collect` ctypes would swallow it, and a piece of speech too.
            with ThreadPoolExecutor(max_workers=1) as thread:
                yield lambda voice, text: thread.submit(say, voice, text).result()
        finally:
            engine.espeak_Terminate()
