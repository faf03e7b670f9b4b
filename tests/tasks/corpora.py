# SPDX-License-Identifier: Apache-2.0
"""Corpora of other tasks: speakers of five accents and ages in Common Voice's layout, and a folder for each kind of sound."""

import csv
import random
from pathlib import Path

import numpy as np
import soundfile

from beam_jobs.corpus.sentences import SENTENCES
from beam_jobs.corpus.synthetic import SAMPLE_RATE_HZ, Voice, _espeak

ACCENTS = {
    "United States English": "en-us",
    "German English,Non native speaker": "de",
    "French English": "fr",
    "India and South Asia (India, Pakistan, Sri Lanka)": "hi",
    "Italian English": "it",
}
"""As Common Voice writes them; English read by the rules of espeak-ng's other languages."""
"""As Common Voice writes them, and espeak-ng's voices."""
AGES = {"teens": (95, 215), "twenties": (70, 190), "forties": (48, 165), "sixties": (26, 140), "eighties": (4, 112)}
"""espeak-ng's pitch and rate of speaking: no evidence about ages, only something to learn."""

SOUNDS = ("bell", "hiss", "hum", "siren", "ticking")


def write_common_voice(root: Path, speakers_of_each: int, utterances: int) -> None:
    """Every accent with every age, in clips of one sentence; MP3 as Common Voice has it."""
    rows = []
    (root / "clips").mkdir(parents=True)
    with _espeak() as say:
        for k in range(speakers_of_each * len(ACCENTS)):
            draw = random.Random(f"task/{k}")
            # Voice and age are drawn for each speaker: no pattern of theirs gives the accent away.
            accent, age = list(ACCENTS)[k % 5], draw.choice(list(AGES))
            pitch, rate_wpm = AGES[age]
            variant = draw.choice(("f1", "m1", "f2", "m3", "f4", "m4", "m7"))
            voice = Voice(
                f"{k}", accent, ACCENTS[accent], variant, pitch + draw.randint(-4, 4), draw.randint(40, 60),
                rate_wpm + draw.randint(-6, 6),
            )  # fmt: skip
            for number, sentence in enumerate(draw.sample(SENTENCES, utterances)):
                path = f"common_voice_en_{k:03d}{number}.mp3"
                soundfile.write(root / "clips" / path, say(voice, sentence), SAMPLE_RATE_HZ, format="MP3")
                rows.append(
                    {"client_id": f"{k:064x}", "path": path, "sentence": sentence, "age": age, "gender": "", "accents": accent}
                )
    with (root / "validated.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
        writer.writeheader()
        writer.writerows(rows)


def write_sounds(root: Path, files_of_each: int) -> None:
    """A folder for each kind of sound, with recordings of 2 s that differ in pitch, speed, level and background."""
    for label in SOUNDS:
        (root / label).mkdir(parents=True)
        for k in range(files_of_each):
            rng = np.random.default_rng([SOUNDS.index(label), k])
            samples = _sound(label, rng) + rng.uniform(0.001, 0.02) * rng.standard_normal(2 * SAMPLE_RATE_HZ)
            samples *= rng.uniform(0.1, 0.7) / np.abs(samples).max()
            soundfile.write(root / label / f"{label}{k:03d}.wav", samples, SAMPLE_RATE_HZ, subtype="PCM_16")


def _sound(label: str, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    hertz = rng.uniform(300, 1200)
    match label:
        case "bell":
            ring = np.exp(-3 * (time % 1))
            return ring * np.sum([np.sin(2 * np.pi * hertz * ratio * time) / ratio for ratio in (1, 2.76, 5.4)], axis=0)
        case "hiss":
            noise = rng.standard_normal(len(time))
            return np.convolve(noise, [1, -rng.uniform(0.3, 0.95)], "same")
        case "hum":
            return np.sum([np.sin(2 * np.pi * rng.uniform(48, 62) * k * time) / k for k in range(1, 12)], axis=0)
        case "siren":
            return np.sin(2 * np.pi * hertz * time + rng.uniform(100, 300) * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time))
        case _:
            ticks = (time * rng.uniform(3, 8) % 1 < 0.01).astype(float)
            return ticks * rng.standard_normal(len(time))
