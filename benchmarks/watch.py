# SPDX-License-Identifier: Apache-2.0
"""How often `audio-gender watch` sounds an alarm for nothing, what it sees, and how far off the expected accuracy is.

    python -m benchmarks.watch --workdir WORK --malayalam /data/malayalam --weeks 100 [--records FILE]

WORK is a work folder whose newest model has a reference. Weeks are drawn from the clips of its test split, whose voices neither
training nor reference have heard; degraded weeks are the same clips by way of `components.robustness.degradations`.
"""

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from beam_jobs.console import progress, say
from beam_jobs.examples import Clip, decode_clip, frame_record, read_records
from components.robustness.degradations import degradations, generator
from components.watch.accuracy import expect_accuracy
from components.watch.config import WatchConfig
from components.watch.measures import confidence
from components.watch.records import HELD_OUT, Record, encode, read_file, read_reference

STRENGTH = 2
GAIN_DB = -18.0
CLEAN, NEW_GAIN, MALAYALAM = "undisturbed", "microphone gain -18 dB", "malayalam"
PER_CONDITION = 150
REQUESTS = (200, 500)
"""Of a week."""


def wav(samples: np.ndarray, rate_hz: int) -> bytes:
    """16 bits, as clients send it."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def test_clips(workdir: Path) -> list[Clip]:
    """The test split of the newest dataset."""
    newest = max((workdir / "clips").glob("*/test"), key=lambda path: path.stat().st_mtime)
    found = []
    for path in sorted(newest.glob("*.tfrecord")):
        with path.open("rb") as file:
            found += [decode_clip(record) for record in read_records(file)]
    return found


def recordings(clips: Sequence[Clip], malayalam: Path | None) -> Iterator[tuple[str, int, bytes]]:
    """(condition, label or -1, WAV file)."""
    samples = [clip.pcm16.astype(np.float32) / 32768 for clip in clips]
    for clip, sound in zip(clips, samples, strict=True):
        yield CLEAN, clip.label, wav(sound, clip.sample_rate_hz)
    ways = degradations(samples[PER_CONDITION : PER_CONDITION + 20])
    for clip, sound in list(zip(clips, samples, strict=True))[:PER_CONDITION]:
        yield NEW_GAIN, clip.label, wav(sound * 10 ** (GAIN_DB / 20), clip.sample_rate_hz)
        for name, degrade in ways.items():
            rng = generator(0, name, STRENGTH, clip.id)
            yield name, clip.label, wav(degrade(sound, clip.sample_rate_hz, STRENGTH, rng), clip.sample_rate_hz)
    for path in sorted((malayalam or Path("/nowhere")).glob("audio/**/*"))[:PER_CONDITION]:
        if path.is_file():
            sound, rate_hz = soundfile.read(path, dtype="float32", frames=5 * soundfile.info(path).samplerate)
            yield MALAYALAM, -1, wav(sound, rate_hz)


def ask(model: Path, sounds: Sequence[tuple[str, int, bytes]]) -> list[Record]:
    """What the signature `measured` says."""
    import tensorflow as tf

    from components.watch.measured import SIGNATURE, measured_answers

    serve = tf.saved_model.load(str(model)).signatures[SIGNATURE]
    found = []
    with progress("hearing", len(sounds), "recordings") as advance:
        for condition, label, content in sounds:
            (answer,) = measured_answers(serve(wav=tf.constant([content])))
            found.append(Record(path=condition, truth=label, version=1, **answer))
            advance()
    return found


def drift_of(week: Sequence[Record], reference: Sequence[Record], config: WatchConfig) -> list:
    """As `watch` measures it."""
    from components.watch.drift import measure_drift, statistics_of

    return measure_drift(week, statistics_of(week), reference, config)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--malayalam", type=Path)
    parser.add_argument("--weeks", type=int, default=100)
    parser.add_argument("--records", type=Path, help="answers, kept for the next time")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = arguments.model or max((arguments.workdir / "serving").glob("[0-9]*"), key=lambda path: int(path.name))
    reference = [record for record in read_reference(model) if record.path == HELD_OUT and record.measured]
    if arguments.records and arguments.records.exists():
        records = [record for record in read_file(str(arguments.records)) if isinstance(record, Record)]
    else:
        records = ask(model, list(recordings(test_clips(arguments.workdir), arguments.malayalam)))
        if arguments.records:
            arguments.records.write_bytes(b"".join(part for record in records for part in frame_record(encode(record))))
    by_condition: dict[str, list[Record]] = {}
    for record in records:
        by_condition.setdefault(record.path, []).append(record)
    config = WatchConfig()
    result: dict[str, Any] = {}
    say(f"reference: {len(reference)} clips; undisturbed: {len(by_condition[CLEAN])} clips of voices that it does not hold")
    clean = [record for record in by_condition[CLEAN] if record.measured]
    for requests in REQUESTS:
        alarms = 0
        greatest: dict[str, float] = {}
        for week in range(arguments.weeks):
            rng = np.random.default_rng((week, requests))
            drawn = [clean[place] for place in rng.choice(len(clean), min(requests, len(clean)), replace=False)]
            found = drift_of(drawn, reference, config)
            alarms += any(item.alarm for item in found)
            for item in found:
                greatest[item.name] = max(greatest.get(item.name, 0.0), item.distance)
        result[f"false alarms, {requests} requests a week"] = [alarms, arguments.weeks]
        result[f"greatest distances, {requests} requests"] = {name: round(value, 3) for name, value in greatest.items()}
        say(f"{requests} requests a week: {alarms} alarms in {arguments.weeks} weeks; greatest distances {greatest}")
    for condition, answers in by_condition.items():
        heard = [record for record in answers if record.measured]
        if len(heard) < 20:
            say(f"{condition}: {len(heard)} of {len(answers)} are heard as speech")
            continue
        found = drift_of(heard, reference, config)
        sure = [confidence(record) for record in heard]
        expected = expect_accuracy(
            float(np.mean(sure)), float(np.mean([value * (1 - value) for value in sure])), len(heard), reference
        )
        known = [record for record in heard if record.truth >= 0]
        right = [record.classes.index(record.label) == record.truth for record in known]
        truth = float(np.mean(right)) if right else None
        alarms_of = {item.name: round(item.distance, 3) for item in found if item.alarm}
        result[condition] = {
            "heard as speech": [len(heard), len(answers)],
            "alarms": alarms_of,
            "expected accuracy": [round(value, 4) for value in (expected.value, expected.low, expected.high)],
            "accuracy": truth,
        }
        say(f"{condition}: {json.dumps(result[condition])}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
