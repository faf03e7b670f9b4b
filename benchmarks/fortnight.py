# SPDX-License-Identifier: Apache-2.0
"""A fortnight in fast motion, with the commands that a user types: what happens by itself, against what was done to it.

    python -m benchmarks.fortnight --corpus "$LIBRISPEECH_ROOT" --output FOLDER [--requests-per-day 150]

A first model is trained on some of the corpus's speakers, unless FOLDER/work has one. The others are those who ask `serve`, by
telephone from day 5. Every evening `watch --retrain` looks at the last four days. What people do is done to it: some calls are
labelled on days 5, 6 and 9; somebody trains with a list whose labels are swapped, and no gate, on day 8, and with all calls
labelled so far on day 10. Nobody decides anything. `fast_clock` gives the commands the time of day.
"""

import argparse
import csv
import datetime
import http.client
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from beam_jobs.console import say
from benchmarks.watch import wav
from components.pusher.serving_folder import versions
from components.pusher.trials import candidate, read_decisions
from components.robustness.degradations import generator, telephone

DAYS, DAY_S = 14, 86_400.0
TELEPHONE_DAY, BAD_DAY, GOOD_DAY = 5, 8, 10
LABELLED = {5: 20, 6: 20, 9: 20}
"""How many calls are labelled on which day; who made one does not call again, so nobody who calls was trained on."""
CALLERS = 50
"""Who ask all the time."""
LOOKS_BACK_DAYS = 4
STRENGTH, PIECE_S = 2, 5
PAUSE_IN_TRIAL = 4
"""Between two requests, in the time that one takes: versions are compared when no client waits."""
CONFIG = """\
corpus: {{feedback: {feedback}}}
clips:
  duration_s: 5
  sample_rate_hz: 16000
  num_clips: {{train: 600, eval: 250, test: 200}}
  clips_per_shard: 50
  max_utterances: 1
  pause_s: {{min: 0.0, max: 0.0}}
  gain_db: {{min: 0.0, max: 0.0}}
  split_shares: {{train: 0.6, eval: 0.25, test: 0.15}}
train: {{epochs: 12, batch_size: 32, crop_s: 3.0}}
gate:  # a short training, and 21 test speakers: by label, and no smaller slices
  min_slice_clips: 90
  overall:
    {{min_accuracy: 0.85, min_auc: 0.9, min_recall: 0.8, max_accuracy_loss: 0.03, max_auc_loss: 0.03, max_recall_loss: 0.06}}
  slices: {{min_accuracy: 0.75, min_auc: 0.8, min_recall: 0.6, max_accuracy_loss: 0.1, max_auc_loss: 0.1, max_recall_loss: 0.2}}
push:
  mode: canary
  canary: {{share: 0.5, requests: 40}}
  rollback: {{requests: 60}}
"""
LOWEST = ", ".join(f"{name}: 0" for name in ("min_accuracy", "min_auc", "min_recall"))
HIGHEST = ", ".join(f"{name}: 1" for name in ("max_ece", "max_accuracy_loss", "max_auc_loss", "max_recall_loss", "max_ece_rise"))
NO_GATE = [f"gate.{where}={{{LOWEST}, {HIGHEST}}}" for where in ("overall", "slices")]
"""By swapped labels the new model is much better than the one in serving, but so short a training may miss a threshold."""


@dataclass
class Clock:
    """The time of day of all commands, by a file that `fast_clock/sitecustomize.py` reads."""

    file: Path
    began_s: float

    def set(self, day: int, share: float) -> None:
        """To a share of a day; never back, where a run took longer than what was left of an hour."""
        ahead = self.began_s + (day - 1 + share) * DAY_S - time.time()
        if not self.file.exists() or ahead > float(self.file.read_text()):
            new = self.file.with_suffix(".new")
            new.write_text(str(ahead))
            new.rename(self.file)

    @property
    def environment(self) -> dict[str, str]:
        folder = str(Path(__file__).parent / "fast_clock")
        return {**os.environ, "PYTHONPATH": folder, "FAST_CLOCK": str(self.file)}


@dataclass(frozen=True)
class Voice:
    """Somebody who is not in the corpus."""

    id: str
    sex: str
    samples: np.ndarray
    rate_hz: int

    def pieces(self) -> list[np.ndarray]:
        size = PIECE_S * self.rate_hz
        return [self.samples[start : start + size] for start in range(0, max(1, len(self.samples) - size + 1), size)]

    def by_telephone(self, samples: np.ndarray) -> np.ndarray:
        return telephone(samples, self.rate_hz, STRENGTH, generator(0, "telephone", STRENGTH, self.id, len(samples)))


@dataclass
class Answer:
    """What is known of a request."""

    day: int
    version: int
    right: bool
    speech: bool


@dataclass
class Story:
    """All that is told at the end."""

    days: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def share_right(self, first: int, last: int, version: int | None = None) -> float | None:
        """Of the answers of these days, with speech; of one version, or all."""
        found = [one.right for one in self.answers if first <= one.day <= last and one.speech and version in (None, one.version)]
        return sum(found) / len(found) if found else None


def main() -> None:
    """Prints what happened, day by day; writes `watch`'s page and JSON of every day and of all days, and `story.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="LibriSpeech, of which train-clean-100 is used")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--requests-per-day", type=int, default=150)
    arguments = parser.parse_args()
    if not (arguments.corpus / "SPEAKERS.TXT").is_file():
        parser.error(f"{arguments.corpus}: no SPEAKERS.TXT in it; give the root of LibriSpeech")
    output = arguments.output.resolve()
    if any((output / name).exists() for name in ("corpus", "mislabelled", "feedback")):
        parser.error(f"{output}: holds a fortnight already; give another folder, or move its `work` into one")
    output.mkdir(parents=True, exist_ok=True)
    callers, labelled = divide(arguments.corpus.resolve(), output)
    feedback = output / "feedback" / "feedback.csv"
    feedback.parent.mkdir()
    feedback.write_text("path,label,who\n")
    (output / "config.yaml").write_text(CONFIG.format(feedback=feedback))
    today = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    clock = Clock(output / "clock", today.timestamp() - DAYS * DAY_S)
    clock.set(0, 0.5)  # the day before
    commands = Commands(output, clock)
    if not commands.serving_folder.exists():
        say(f"first model: {commands.run('first')}")
    sounds = [(caller, piece) for caller in callers for piece in caller.pieces()]
    rng, story = np.random.default_rng(0), Story()
    with commands.serving() as port:
        for day in range(1, DAYS + 1):
            clock.set(day, 0.1)
            done = happens(day, commands)
            ask(port, commands, clock, day, [sounds[n] for n in rng.choice(len(sounds), arguments.requests_per_day)], story)
            label(feedback, [labelled.pop() for _ in range(LABELLED.get(day, 0))])
            clock.set(day, 0.98)
            time.sleep(2)  # what is queued is written
            evening(day, commands, story, done)
    commands.watch("fortnight", f"{DAYS}d")
    for decision in read_decisions(commands.serving_folder):
        say(f"version {decision.version}: {decision.outcome} on {decision.when}: {decision.why}")
    say(commands.call("runs", "--workdir", output / "work"))


def divide(corpus: Path, output: Path) -> tuple[list[Voice], list[Voice]]:
    """Makes the corpus to train on and one whose labels are swapped; returns who call, and whose calls will be labelled."""
    lines = (corpus / "SPEAKERS.TXT").read_text().splitlines()
    sexes = {line.split("|")[0].strip(): line.split("|")[1].strip() for line in lines if not line.startswith(";")}
    swapped = [re.sub(r"\| ([FM]) \|", lambda found: f"| {'M' if found[1] == 'F' else 'F'} |", line, count=1) for line in lines]
    for name, listed in (("corpus", lines), ("mislabelled", swapped)):
        (output / name / "train-clean-100").mkdir(parents=True)
        (output / name / "SPEAKERS.TXT").write_text("\n".join(listed) + "\n")
    asking: list[Voice] = []
    folders = sorted((corpus / "train-clean-100").iterdir(), key=lambda folder: (sexes[folder.name], int(folder.name)))
    others = CALLERS + sum(LABELLED.values())
    for number, folder in enumerate(folders):
        if number * others // len(folders) == (number + 1) * others // len(folders):
            for name in ("corpus", "mislabelled"):
                (output / name / "train-clean-100" / folder.name).symlink_to(folder)
            continue
        samples, rate_hz = soundfile.read(next(folder.glob("*/*.flac")), dtype="float32")
        asking.append(Voice(folder.name, sexes[folder.name], samples, rate_hz))
    order = np.random.default_rng(0).permutation(len(asking))
    return [asking[n] for n in order[:CALLERS]], [asking[n] for n in order[CALLERS:]]


@dataclass
class Commands:
    """The commands that a user types, with the clock of the story."""

    output: Path
    clock: Clock

    @property
    def serving_folder(self) -> Path:
        return self.output / "work" / "serving"

    def start(self, *words: object, **options: Any) -> subprocess.Popen:
        command = [str(Path(sys.executable).parent / "audio-gender"), *map(str, words)]
        return subprocess.Popen(command, env=self.clock.environment, text=True, **options)

    def call(self, *words: object, statuses: Sequence[int] = (0,)) -> str:
        with (self.output / "commands.log").open("a") as log:
            process = self.start(*words, stdout=subprocess.PIPE, stderr=log)
            said, _ = process.communicate()
        if process.returncode not in statuses:
            raise SystemExit(f"{' '.join(map(str, words))}: exit status {process.returncode}; see {self.output}/commands.log")
        return said

    def run(self, name: str, corpus: str = "corpus", *settings: str) -> str:
        """`audio-gender run`; says what became of it."""
        result = self.output / f"run-{name}.json"
        options = ["--config", self.output / "config.yaml", "--corpus", self.output / corpus, "--workdir", self.output / "work"]
        options += [word for setting in settings for word in ("--set", setting)]
        self.call("run", *options, "--name", name, "--json", result, statuses=(0, 3))
        found = json.loads(result.read_text())
        return f"{found['verdict']}: {found['reason']}" if found.get("reason") else str(found["verdict"])

    def watch(self, name: str, since: str, *more: object) -> dict[str, Any]:
        """`audio-gender watch`; writes its page and its JSON under a name."""
        page, result = self.output / f"{name}.html", self.output / f"{name}.json"
        about = ["--log", self.output / "requests", "--serving", self.serving_folder, "--config", self.output / "config.yaml"]
        self.call("watch", *about, "--since", since, "--html", page, "--json", result, *more, statuses=(0, 3))
        found: dict[str, Any] = json.loads(result.read_text())
        return found

    @contextmanager
    def serving(self) -> Iterator[int]:
        """`audio-gender serve`, which keeps a record of every request; yields its port."""
        log = self.output / "serve.log"
        options = ["--serving", self.serving_folder, "--port", 0, "--log", self.output / "requests", "--log-share", 1]
        with log.open("w") as file, self.start("serve", *options, "--log-days", 60, stderr=file) as process:
            try:
                while not (found := re.search(r"http://127.0.0.1:(\d+)/", log.read_text())):
                    if process.poll() is not None:
                        raise SystemExit(f"the server did not start; see {log}")
                    time.sleep(0.2)
                yield int(found[1])
            finally:
                process.terminate()


def happens(day: int, commands: Commands) -> list[str]:
    """What people do on a day."""
    if day == BAD_DAY:
        return [f"a model of swapped labels: {commands.run('bad', 'mislabelled', 'corpus.feedback=null', *NO_GATE)}"]
    if day == GOOD_DAY:
        return [f"a model of all calls labelled so far: {commands.run('good')}"]
    return []


def ask(
    port: int,
    commands: Commands,
    clock: Clock,
    day: int,
    asked: Sequence[tuple[Voice, np.ndarray]],
    story: Story,
) -> None:
    """The requests of a day, from 6 o'clock to 23."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    while (there := candidate(commands.serving_folder)) and on_trial(connection) != there:  # it is being loaded
        time.sleep(0.5)
    for number, (voice, piece) in enumerate(asked):
        clock.set(day, 0.25 + 0.7 * number / len(asked))
        sound = voice.by_telephone(piece) if day >= TELEPHONE_DAY else piece
        body, started = wav(sound, voice.rate_hz), time.monotonic()
        connection.request("POST", "/analyse?name=a.wav", body)
        reply = connection.getresponse()
        content = reply.read()
        if reply.status != 200:
            raise SystemExit(f"day {day}: a request was answered with {reply.status}: {content[:200]!r}")
        answer = json.loads(content)
        said = {"female": "F", "male": "M"}.get(answer["label"])
        story.answers.append(Answer(day, int(answer["version"]), said == voice.sex, answer["label"] is not None))
        if candidate(commands.serving_folder):
            time.sleep(PAUSE_IN_TRIAL * (time.monotonic() - started))


def on_trial(connection: http.client.HTTPConnection) -> int:
    """Which candidate the server tries; 0 where there is none."""
    connection.request("GET", "/metrics")
    found = re.search(r"^audio_gender_canary_version (\S+)$", connection.getresponse().read().decode(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def label(feedback: Path, voices: Sequence[Voice]) -> None:
    """Calls that somebody has labelled."""
    with feedback.open("a", newline="") as file:
        table = csv.writer(file)
        for voice in voices:
            content = io.BytesIO()
            soundfile.write(content, voice.by_telephone(voice.samples), voice.rate_hz, format="WAV", subtype="PCM_16")
            (feedback.parent / f"{voice.id}.wav").write_bytes(content.getvalue())
            table.writerow([f"{voice.id}.wav", voice.sex.lower(), f"caller{voice.id}"])


def evening(day: int, commands: Commands, story: Story, done: list[str]) -> None:
    """`watch` looks; says what it found beside what was true."""
    found = commands.watch(f"day-{day:02d}", f"{LOOKS_BACK_DAYS}d", "--retrain", "--corpus", commands.output / "corpus")
    version, accuracy = found["version"], found["accuracy"]
    today = next((one for one in reversed(found["days"]) if one["with_speech"]), None)
    told = {
        "day": day,
        "done": done,
        "status": found["status"],
        "reasons": found["reasons"],
        "retraining": found["retraining"],
        "version": version,
        "right today": story.share_right(day, day),
        "right today, of this version": story.share_right(day, day, version),
        "expected today, of this version": today["means"]["confidence"] if today else None,
        "right in the window": story.share_right(day - LOOKS_BACK_DAYS + 1, day, version),
        "expected in the window": [accuracy[name] for name in ("value", "low", "high")] if accuracy else None,
        "skew": found["skew"]["value"] if found["skew"] else None,
        "notes": found["notes"],
        "versions": versions(commands.serving_folder),
        "on trial": candidate(commands.serving_folder),
    }
    story.days.append(told)
    say(json.dumps(told))
    decisions = [decision.model_dump() for decision in read_decisions(commands.serving_folder)]
    (commands.output / "story.json").write_text(json.dumps({"days": story.days, "decisions": decisions}, indent=1))


if __name__ == "__main__":
    main()
