# SPDX-License-Identifier: Apache-2.0
"""`python -m beam_jobs.predict`: a row for each recording, shard by shard."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from commands import environment

from beam_jobs import predict as job
from beam_jobs.audio import resample
from components.inference import load_model

OPTIONS = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]


@pytest.fixture(scope="module")
def recordings(make_voice, tmp_path_factory) -> Path:
    """FLAC, WAV of another rate, a folder in a folder, a damaged file, and what is no recording."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "later").mkdir()
    for number in range(5):
        soundfile.write(folder / f"voice-{number}.flac", make_voice(number % 2, 90 + number, 16_000, 8000), 8000)
    soundfile.write(folder / "later" / "=1+1.wav", resample(make_voice(1, 99, 16_000, 8000), 8000, 44_100), 44_100)
    (folder / "damaged.flac").write_bytes((folder / "voice-0.flac").read_bytes()[:30])
    (folder / "notes.txt").write_text("not a recording")
    return folder


def run(*arguments: object) -> int:
    return job.main([*map(str, arguments), *OPTIONS])


def rows(output: Path) -> list[dict[str, str]]:
    return [row for path in sorted(output.glob("predictions-*.csv")) for row in csv.DictReader(path.open(newline=""))]


def test_rows_are_what_the_model_says_and_a_damaged_file_is_one(recordings, trained, tmp_path, capfd):
    status = run(
        "--input", recordings, "--output", tmp_path / "out", "--model", trained.serving_model_dir, "--recordings-per-shard", 3
    )

    model = load_model(trained.serving_model_dir)
    found = {row["file"].removeprefix("'"): row for row in rows(tmp_path / "out")}
    assert status == 0
    assert set(found) == {str(path) for path in recordings.rglob("*") if path.suffix in (".flac", ".wav")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"predictions-0000{index}-of-00003.csv" for index in range(3)),
        "summary.json",
    }
    for path, row in found.items():
        answer = model.predict(path)
        assert (row["label"], row["error"]) == (answer.label, answer.error)
        assert float(row["female"]) == pytest.approx(answer.probabilities["female"], abs=1e-5)
        assert float(row["speech"]) == pytest.approx(answer.speech, abs=1e-5)
    assert found[str(recordings / "damaged.flac")]["error"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["recordings"], summary["errors"], sum(summary["labels"].values())) == (7, 1, 6)
    assert "7 recordings" in capfd.readouterr().err


def test_json_lines_of_a_list_and_a_pattern(recordings, trained, tmp_path):
    (tmp_path / "list.txt").write_text(f"{recordings / 'later' / '=1+1.wav'}\n{tmp_path / 'gone.flac'}\n")
    options = ["--output", tmp_path / "out", "--model", trained.serving_model_dir, "--format", "jsonl"]

    assert run("--input", recordings / "voice-[01].flac", "--list", tmp_path / "list.txt", *options) == 0

    (path,) = (tmp_path / "out").glob("predictions-*")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [Path(row["file"]).name for row in found] == ["voice-0.flac", "voice-1.flac", "=1+1.wav", "gone.flac"]
    assert [bool(row["error"]) for row in found] == [False, False, False, True]


@pytest.mark.slow
def test_a_killed_job_goes_on_from_its_finished_shards(recordings, trained, tmp_path):
    options = ["--input", recordings, "--model", trained.serving_model_dir, "--recordings-per-shard", 1]
    assert run(*options, "--output", tmp_path / "whole") == 0
    command = [sys.executable, "-m", "beam_jobs.predict", *map(str, options), "--output", str(tmp_path / "out"), *OPTIONS]

    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (there := sorted((tmp_path / "out").glob("predictions-*"))):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    left = {path.name: path.stat().st_mtime_ns for path in sorted((tmp_path / "out").glob("predictions-*"))}
    assert there
    assert not (tmp_path / "out" / "summary.json").exists()
    assert run(*options, "--output", tmp_path / "out") == 0

    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in left} == left
    whole, again = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "out"))
    assert again == whole


def test_an_output_of_something_else_is_refused(recordings, trained, tmp_path, capfd):
    options = ["--output", tmp_path / "out", "--model", trained.serving_model_dir]
    assert run("--input", recordings / "voice-0.flac", *options) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    assert run("--input", recordings / "voice-0.flac", *options) == 0  # it is there
    assert run("--input", recordings / "voice-1.flac", *options) == 2
    assert "already holds predictions for other recordings" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert run("--input", recordings, "--output", tmp_path / "full", "--model", trained.serving_model_dir) == 2
    assert "not empty" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--input", "{empty}"], "no recordings found"),
        (["--input", "{empty}/gone.flac"], "no recordings found"),
        ([], "no recordings given; name some with --input or --list"),
        (["--list", "{empty}/gone.txt"], "cannot be read"),
        (["--input", "{recordings}", "--model", "{empty}"], "holds no model yet"),
        (["--input", "{recordings}", "--recordings-per-shard", "0"], "must be 1 or more"),
    ],
)
def test_mistakes_are_one_line(arguments, line, recordings, trained, tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    places = {"empty": str(tmp_path / "empty"), "recordings": str(recordings)}
    options = [] if "--model" in arguments else ["--model", trained.serving_model_dir]

    status = run(*(argument.format(**places) for argument in arguments), "--output", tmp_path / "out", *options)

    said = capfd.readouterr().err
    assert status == 2
    assert line in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_workers_in_processes_of_their_own_say_the_same(recordings, trained, tmp_path):
    options = ["--input", str(recordings), "--model", trained.serving_model_dir, "--recordings-per-shard", "2"]
    modes = {"alone": ["in_memory"], "several": ["multi_processing", "--direct_num_workers=2"]}

    for name, (mode, *more) in modes.items():
        command = [sys.executable, "-m", "beam_jobs.predict", *options, "--output", str(tmp_path / name)]
        subprocess.run([*command, f"--direct_running_mode={mode}", *more], env=environment(), check=True, capture_output=True)

    alone, several = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in modes)
    assert several == alone
