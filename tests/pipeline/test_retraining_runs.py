# SPDX-License-Identifier: Apache-2.0
"""Retraining with a reason, whole: other recordings come to a real server, `watch` retrains, and the run says why.

The model is the demo's, of espeak-ng's voices. Who asks are people of LibriSpeech through a telephone's codec by ffmpeg, and
speakers of Malayalam; some of the former are labelled by users and join the corpus.
"""

import csv
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from demo_runs import Demo
from ml_metadata import MetadataStore
from processes import Processes, answers, free_port
from small_demo import SMALL

from components.alarm import Alarm
from components.watch.records import CANARY, Record, read_file
from pipeline.outcome import read_outcomes
from pipeline.retraining import last_here, retrain
from pipeline.workdir import WorkDir

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).parent / "audio-gender"
ANY = [f"{name}: {value}" for name, value in (("min_accuracy", 0), ("min_auc", 0), ("min_recall", 0), ("max_ece", 1))]
ANY += [f"{name}: 1" for name in ("max_accuracy_loss", "max_auc_loss", "max_recall_loss", "max_ece_rise")]
SETTINGS = [*SMALL, *(f"gate.{where}={{{', '.join(ANY)}}}" for where in ("overall", "slices")), "robustness=null"]
CALLERS = 60


@dataclass(frozen=True)
class Story:
    """What happened: the two calls at once, and what they left."""

    workdir: WorkDir
    log: Path
    statuses: list[int]
    lines: list[str]
    watch: Callable[..., list[str | Path]]

    @property
    def run_id(self) -> str:
        (outcome,) = [outcome for outcome in read_outcomes(self.workdir).values() if outcome.alarm]
        return outcome.run_id


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings as a telephone makes them (8 kHz, mu-law), and the list of them all."""
    if not os.environ.get("LIBRISPEECH_ROOT"):
        pytest.skip("LIBRISPEECH_ROOT is not set: it names a folder with SPEAKERS.TXT and train-clean-100")
    root, folder = Path(os.environ["LIBRISPEECH_ROOT"]), tmp_path_factory.mktemp("calls")
    sexes = {}
    for line in (root / "SPEAKERS.TXT").read_text().splitlines():
        if not line.startswith(";"):
            reader, sex = (field.strip() for field in line.split("|")[:2])
            sexes[reader] = sex
    lines = ["path,label,who"]
    for path in sorted(root.glob("train-clean-100/*/*/*.flac"))[:CALLERS]:
        reader = path.name.split("-")[0]
        codec = ["-t", "4", "-ar", "8000", "-c:a", "pcm_mulaw"]
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), *codec, str(folder / f"{reader}.wav")], check=True)
        lines.append(f"{reader}.wav,{sexes[reader]},caller{reader}")
    (folder / "feedback.csv").write_text("\n".join([*lines, "lost.wav,female,ada"]) + "\n")
    return folder


def num_requests(log: Path) -> int:
    found = (record for path in log.glob("*.tfrecord") for record in read_file(str(path)))
    return sum(isinstance(record, Record) and record.path != CANARY for record in found)


def ask_all(serving: Path, log: Path, recordings: list[Path]) -> None:
    port, processes = free_port(), Processes(log.parent)
    serve = [COMMAND, "serve", "--serving", serving, "--port", str(port), "--log", log, "--log-share", "1"]
    processes.start("server", serve)
    try:
        while not answers(port):
            time.sleep(0.5)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for recording in recordings:
            connection.request("POST", f"/analyse?name={recording.name}", recording.read_bytes())
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
        while num_requests(log) < len(recordings):
            time.sleep(0.2)  # written by a thread of its own, many at a time
    finally:
        processes.kill("server")


@pytest.fixture(scope="module")
def story(demo: Demo, calls: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    workdir = WorkDir.at(folder / "work")
    shutil.copytree(demo.workdir, workdir.root)
    log = folder / "requests"
    malayalam = sorted(Path(os.environ["LIBRISPEECH_ROOT"]).parent.glob("malayalam/audio/*.flac"))
    ask_all(workdir.serving, log, [*sorted(calls.glob("*.wav"))[:30], *malayalam[::3]])
    settings = [argument for setting in SETTINGS for argument in ("--set", setting)]

    def watch(*more: str | Path) -> list[str | Path]:
        about = ["--log", log, "--serving", workdir.serving, "--config", "demo", *settings, "--set", "watch.min_requests=50"]
        feedback = ["--set", f"corpus.feedback={calls / 'feedback.csv'}", "--set", "clips.max_rejected_share=0.1"]
        return [COMMAND, "watch", *about, *feedback, "--retrain", *more]

    both = [
        subprocess.Popen(watch("--json", folder / f"{n}.json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in "ab"
    ]
    said = [process.communicate() for process in both]
    print(*said, sep="\n")
    yield Story(workdir, log, [call.returncode for call in both], [out.splitlines()[-1] for out, _ in said], watch)


def test_of_two_calls_one_retrains_and_says_so(story: Story) -> None:
    assert story.statuses == [3, 3]
    idle, busy = sorted(story.lines)
    assert busy == f"retrained: run {story.run_id} pushed version {story.workdir.serving_version()}"
    assert idle == "not retrained: another call is retraining now" or idle.startswith(f"not retrained: run {story.run_id} ")


def test_the_run_its_report_its_model_and_mlmd_say_why(story: Story, audio_gender: Callable) -> None:
    alarm = read_outcomes(story.workdir)[story.run_id].alarm
    assert alarm and {"band_hz", "embedding"} & set(alarm.values) and alarm.requests >= 50

    page = (story.workdir.reports / story.run_id / "report.html").read_text()
    assert "retrained for" in page and "requests with speech to version" in page and "drift of" in page
    lineage = audio_gender("lineage", "--serving", story.workdir.serving)
    assert alarm.text in lineage.stdout
    store = MetadataStore(story.workdir.connection())
    context = store.get_context_by_type_and_name("pipeline_run", story.run_id)
    executions = store.get_executions_by_context(context.id)
    told = [run.custom_properties["alarm"] for run in executions if "alarm" in run.custom_properties]
    assert {Alarm.model_validate_json(value.string_value).text for value in told} == {alarm.text} and len(told) == 2
    listed = audio_gender("runs", "--workdir", story.workdir.root, "--name", "retraining", "--json", "-")
    assert [run["run_id"] for run in json.loads(listed.stdout)] == [story.run_id]


def test_feedback_is_trained_on_and_has_its_slice(story: Story) -> None:
    folder = story.workdir.reports / story.run_id
    result = json.loads((folder / "run.json").read_text())
    dataset = Path(story.workdir.place(result["folders"]["dataset"]))
    clips, feedback = (result["metrics"][name]["clips"] for name in ("all", "subset=feedback"))
    rows = [row for row in csv.DictReader((dataset / "clips.csv").open()) if row["split"] == "test"]
    assert 0 < feedback < clips and feedback == sum("feedback:" in row["utterance_ids"] for row in rows)
    assert "subset=feedback" in (folder / "report.html").read_text()
    info = json.loads((dataset / "dataset_info.json").read_text())
    callers = {split: {id for id in ids if id.startswith("caller")} for split, ids in info["speakers"].items()}
    assert sum(map(len, callers.values())) == CALLERS and not callers["train"] & callers["test"]
    assert "feedback.csv:62" in (dataset / "rejected.csv").read_text() and info["rejected"] == 1


def test_the_next_call_is_quiet_and_a_killed_one_leaves_no_lock(story: Story) -> None:
    before = set(read_outcomes(story.workdir))
    # The version that answers is new, so the requests are those to the one before.
    old = str(sorted(int(path.name) for path in story.workdir.serving.iterdir() if path.name.isdigit())[-2])
    quiet = subprocess.run(story.watch("--model", old), capture_output=True, text=True)
    assert quiet.returncode == 3, quiet.stderr
    assert quiet.stdout.splitlines()[-1].startswith(f"not retrained: run {story.run_id} ended on ")
    assert set(read_outcomes(story.workdir)) == before

    call = partial(retrain, story.log, 7.0, partial(last_here, story.workdir), lambda last: f"started after {last.name}")
    killed = subprocess.Popen(story.watch("--model", old, "--set", "watch.quiet_days=0"), stderr=subprocess.DEVNULL)
    while not (new := set(read_outcomes(story.workdir)) - before):
        assert killed.poll() is None
        time.sleep(0.1)
    assert call() == "not retrained: another call is retraining now"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert call() == f"started after run {new.pop()}"
