# SPDX-License-Identifier: Apache-2.0
"""What an answer costs, beside inaSpeechSegmenter: `python -m benchmarks.inference --model DIR --corpus ROOT --ina PYTHON`.

Both find the segments of the same recordings, one after the other in each round; what is measured and how: benchmarks/README.md.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from beam_jobs.audio import read_audio
from beam_jobs.corpus.readers import read_corpus
from benchmarks.measure import last_line, python

INA = Path(__file__).parent / "ina_timing.py"
RATE_HZ, WARM_UP_S = 16_000, 10


def write_recordings(corpus: str, folder: Path, seconds: int, number: int) -> list[Path]:
    """A short one, and `number` of `seconds`: utterances of many speakers with pauses of half a second, at 16 kHz."""
    index = read_corpus(corpus)
    names = [utterance.path for speaker in index.speakers for utterance in speaker.utterances[:1]]
    pause = np.zeros(RATE_HZ // 2, np.float32)
    parts: list[np.ndarray] = []
    while sum(len(part) for part in parts) < number * seconds * RATE_HZ:
        for name in names:
            parts += [read_audio(str(Path(index.root) / name))[0], pause]
    speech = np.concatenate(parts)
    paths = []
    for take, length in enumerate([WARM_UP_S, *[seconds] * number]):
        paths.append(folder / f"{take}.wav")
        first = max(take - 1, 0) * seconds * RATE_HZ
        soundfile.write(paths[-1], speech[first : first + length * RATE_HZ], RATE_HZ)
    return paths


def time_ours(model: str, paths: list[str]) -> list[dict[str, Any]]:
    """Loads the model, hears the first recording to warm up, and measures the others."""
    from components.inference import load_model

    ours, figures = load_model(model), []
    for path in paths:
        cpu, clock = time.process_time(), time.monotonic()
        timeline = ours.timeline(path)
        figures.append({"cpu_s": time.process_time() - cpu, "s": time.monotonic() - clock, "segments": len(timeline.segments)})
        figures[-1]["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="serving folder, or that of one version")
    parser.add_argument("--corpus", help="its utterances are heard")
    parser.add_argument("--ina", help="Python of the environment with inaSpeechSegmenter")
    parser.add_argument("--seconds", type=int, default=300, help="length of a recording")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=2, help="length of the long recording")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(time_ours(args.model, args.only)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        warm_up, *recordings = write_recordings(args.corpus, folder, args.seconds, args.rounds)
        ours: list[dict[str, Any]] = []
        ina: list[dict[str, Any]] = []
        for recording in recordings:  # one after the other, so that both meet the same machine
            command = python("benchmarks.inference", "--model", args.model, "--only", warm_up, recording)
            ours += json.loads(last_line(command, log))[1:]
            if args.ina:
                ina += json.loads(last_line([args.ina, str(INA), str(warm_up), str(recording)], log))
        long, seconds = folder / "long.wav", round(args.hours * 3600)
        parts = [soundfile.read(recording, dtype="int16")[0] for recording in recordings]
        soundfile.write(long, np.resize(np.concatenate(parts), seconds * RATE_HZ).astype(np.int16), RATE_HZ)
        command = python("benchmarks.inference", "--model", args.model, "--only", warm_up, recordings[0], long)
        short_of, long_of = json.loads(last_line(command, log))[1:]
    figures = {
        "ours_cpu_ms": _ms(ours, args.seconds),
        "ina_cpu_ms": _ms(ina, args.seconds) if ina else None,
        "ratio": statistics.median(theirs["cpu_s"] / own["cpu_s"] for own, theirs in zip(ours, ina, strict=True))
        if ina
        else None,
        "long_hours": args.hours,
        "long_cpu_ms": 1000 * long_of["cpu_s"] / seconds,
        "long_real_time_factor": long_of["s"] / seconds,
        "long_peak_mb": long_of["peak_mb"],
        "short_peak_mb": short_of["peak_mb"],
    }
    json.dump(figures, sys.stdout, indent=1)
    print()


def _ms(figures: list[dict[str, Any]], seconds: int) -> float:
    """CPU milliseconds of a second of audio."""
    return statistics.median(1000 * figure["cpu_s"] / seconds for figure in figures)


if __name__ == "__main__":
    main()
