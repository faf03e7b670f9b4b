# SPDX-License-Identifier: Apache-2.0
"""What the command line writes where: results to stdout, messages to stderr, whole at every width, and commands to paste."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import Tmux, in_pty, needs_tmux, printed_commands, seen

from components.gate.result import Check, GateResult
from pipeline.result import RunResult

COMMAND = Path(sys.executable).parent / "audio-gender"
WIDTHS = [80, 100, 200]


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=cwd, timeout=600)


# stdout and stderr.


def test_runs_can_be_filtered(demo, tmp_path):
    done = shell(f"{COMMAND} runs --workdir {shlex.quote(str(demo.workdir))} | grep pushed", tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [run.result["run_id"] for run in (demo.first, demo.repeated)]
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["runs", "corpus"])
def test_json_on_stdout_is_all_that_is_there(demo, corpus, tmp_path, command):
    arguments = ["runs", "--workdir", demo.workdir] if command == "runs" else ["corpus", "info", corpus]
    done = shell(shlex.join([str(COMMAND), *map(str, arguments), "--json", "-"]), tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(demo.listed_json) if command == "runs" else len(found["speakers"]) == 12
    assert list(tmp_path.iterdir()) == []  # no file named -


def test_the_table_of_a_corpus_and_a_dataset_is_on_stdout(demo, corpus, tmp_path):
    info = shell(shlex.join([str(COMMAND), "corpus", "info", str(corpus)]), tmp_path)
    assert re.search(r"^tones +female +6 +18 ", info.stdout, re.MULTILINE) and "female" not in info.stderr
    clips = shell(shlex.join([str(COMMAND), "clips", "inspect", str(demo.dataset), "--html", "page.html"]), tmp_path)
    assert re.search(r"^train +96 ", clips.stdout, re.MULTILINE)
    assert "next: " in clips.stderr and "next: " not in clips.stdout


def test_a_reader_that_leaves_early_is_no_error(demo, tmp_path):
    done = shell(f"{COMMAND} runs --workdir {shlex.quote(str(demo.workdir))} | head -1", tmp_path)
    assert done.stdout == f"Runs in {demo.workdir}\n"
    assert "Traceback" not in done.stderr


# In a terminal.


def test_the_second_run_in_a_terminal_shows_the_project_s_own_words_only(demo):
    """absl and logging, first imported while rich showed a bar, kept rich's stand-in for stderr, which led to the terminal."""
    assert demo.waiting_status == 0, demo.waiting_terminal
    assert "\nTrainer " in demo.waiting_terminal and "\nwaiting\n" in demo.waiting_terminal
    assert re.findall(r".*(?:WARNING|INFO|absl|tensorflow:).*", demo.waiting_terminal) == []


def test_the_result_of_a_run_fits_80_columns_whole(demo):
    table = demo.waiting_terminal.split("(confusion: rows are labels)\n")[1].split("\nwaiting\n")[0].splitlines()
    assert max(map(len, table)) <= 80
    for name, metrics in demo.first.result["metrics"].items():
        (row,) = [line for line in table if line.startswith(f"{name} ")]
        assert re.search(rf" {metrics['clips']} +{metrics['accuracy']:.4f} +{metrics['ece']:.4f} ", row)
        assert row.endswith(" | ".join(" ".join(map(str, counts)) for counts in metrics["confusion_matrix"]))


@needs_tmux
@pytest.mark.parametrize("columns", WIDTHS)
def test_runs_are_listed_whole_at_every_width(demo, tmp_path, columns):
    lines = seen(columns, COMMAND, "runs", "--workdir", demo.workdir, cwd=tmp_path)
    starts = [number for number, line in enumerate(lines) if re.match(r"\d{8}-\d{6}\b", line)]
    assert [lines[start].split()[0] for start in starts] == [run["run_id"] for run in demo.listed_json]
    for run, start, end in zip(demo.listed_json, starts, [*starts[1:], len(lines)], strict=True):
        # What is too long for the last column goes on below it.
        words = " ".join(lines[start:end]).replace(",", " ").replace(";", " ").split()
        wanted = [run["verdict"], f"{run['accuracy']:.4f}" if run["accuracy"] else "-", *filter(None, [run["pushed_version"]])]
        assert [word for word in wanted if word not in words] == []
    assert "ClipExampleGen:" in " ".join(lines)  # of the run that was stopped


SHOW = """
import sys
from pipeline.result import RunResult
from components.gate.result import GateResult
from pipeline.run_summary import show
result, gate = [open(name).read() for name in ("run.json", "gate.json")]
show(RunResult.model_validate_json(result), GateResult.model_validate_json(gate))
"""


def show_in(folder: Path, result: RunResult, *checks: Check) -> None:
    """Writes `show.py`, which prints what `run` prints at its end."""
    refused = any(check.decides and not check.ok for check in checks)
    gate = GateResult(
        blessed=not refused, reasons=["accuracy on all is 0.9, below 0.95"] if refused else [], classes=result.classes,
        baseline_version=None, confidence=0.95, bootstrap_samples=0, decided_on="estimate", slices=[], checks=list(checks),
    )  # fmt: skip
    (folder / "run.json").write_text(result.model_dump_json())
    (folder / "gate.json").write_text(gate.model_dump_json())
    (folder / "show.py").write_text(SHOW)


HOLDS = Check(kind="value", metric="accuracy", slice="all", clips=24, value=0.9, threshold=0.5, margin=0.4, decides=True, ok=True)
FAILS = HOLDS.model_copy(update={"threshold": 0.95, "margin": -0.05, "ok": False})
UNDECIDED = HOLDS.model_copy(update={"slice": "label=male", "clips": 4, "decides": False})
COLOR = {"green": "32", "yellow": "33", "red": "31"}


@pytest.mark.parametrize(
    ("verdict", "checks", "color"),
    [
        ("pushed", [HOLDS], "green"),
        ("pushed", [HOLDS, UNDECIDED], "yellow"),
        ("pushed", [], "yellow"),  # nothing was asked for, so nothing was shown
        ("waiting", [HOLDS], "yellow"),
        ("refused", [HOLDS, FAILS], "red"),
    ],
)
def test_a_run_ends_green_only_where_every_threshold_holds(tmp_path, verdict, checks, color):
    waits = "this model was rejected by Bob on 2026-01-01: too loud; ask Ada" if verdict == "waiting" else ""
    reason = f"waits for approval ({waits}); " * bool(waits) + "accuracy 0.900; 1 of 1 threshold hold"
    result = RunResult(
        run_id="20261126-093437", verdict=verdict, reason=reason, waiting_for=waits, metrics={},
        classes=["male", "female"], serving_version=None,
        baseline_version=None, inputs_digest="", folders={"workdir": str(tmp_path)}, nodes=[], seconds=1,
    )  # fmt: skip
    show_in(tmp_path, result, *checks)
    done = shell(f"FORCE_COLOR=1 TERM=xterm {sys.executable} show.py", tmp_path)
    assert f"\x1b[1;{COLOR[color]}m{verdict}\x1b[0m\n" in done.stdout, done.stderr
    wanted = [f"waits for approval ({waits})"] * bool(waits) + ["accuracy 0.900", "1 of 1 threshold hold"]
    assert [line.strip() for line in done.stdout.splitlines()[2:-1]][-len(wanted) :] == wanted


@needs_tmux
@pytest.mark.parametrize("columns", [40, *WIDTHS])
def test_three_classes_and_many_clips_are_shown_whole_at_every_width(tmp_path, columns):
    matrix = [[4120, 31, 7], [22, 4010, 19], [5, 8, 1370]]
    metrics = {"clips": 9592, "accuracy": 0.9904, "ece": 0.0123, "confusion_matrix": matrix}
    metrics["auc"] = {"male": 0.9987, "female": 0.9976, "mixed": 0.9965}
    result = RunResult(
        run_id="20261126-093437", verdict="refused", reason="accuracy on all is 0.9904, below 1",
        metrics={"all": metrics, "loudness=-42..-36 dBFS": metrics}, classes=["male", "female", "mixed"],
        serving_version=None, baseline_version=None, inputs_digest="", folders={"workdir": str(tmp_path)}, nodes=[], seconds=1,
    )  # fmt: skip
    show_in(tmp_path, result)
    lines = seen(columns, sys.executable, "show.py", cwd=tmp_path)
    words = " ".join(lines).replace("|", " ").split()
    assert [line for line in lines if len(line) > columns] == []
    for figure in ("9592", "0.9904", "0.0123", "0.9987", "0.9976", "0.9965", "4120", "31", "22", "4010", "19", "1370"):
        assert words.count(figure) >= 2, figure
    assert "refused" in words
    for name in ("accuracy", "female", "mixed", "confusion", "loudness=-42..-36"):
        assert name in words


BAR = """
import time
from beam_jobs.console import progress
note = "train loss 0.512 accuracy 0.812 learning rate 0.0013, eval loss 0.480 accuracy 0.833, 0:12 elapsed"
with progress("training from epoch 12", 30, unit="epochs") as advance:
    for _ in range(3):
        time.sleep(0.6)
        advance(1, note)
    time.sleep(60)
"""


@needs_tmux
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_bar_shows_name_progress_rate_time_left_and_figures(tmp_path, columns):
    (tmp_path / "bar.py").write_text(BAR)
    tmux = Tmux(columns, f"{sys.executable} bar.py", tmp_path)
    try:
        lines = tmux.until(lambda lines: any("3/30" in line and "0:00:" in line for line in lines))
    finally:
        tmux.close()
    (bar,) = [line for line in lines if "3/30" in line]
    assert re.search(r"training from epoch 12 [━╸╺ ]{10,} 3/30 [\d.]+ epochs/s 0:00:\d\d", bar)
    below = " ".join(" ".join(lines[lines.index(bar) + 1 :]).split())
    assert "train loss 0.512 accuracy 0.812 learning rate 0.0013, eval loss 0.480 accuracy 0.833, 0:12 elapsed" in below


# Commands to paste.


def test_the_commands_that_are_printed_run_as_they_are(demo, tmp_path):
    """Of a waiting run, of its review, of an approval: in a copy of the work folder, whose name has a space in it too."""
    copy = shutil.copytree(demo.workdir, tmp_path / "my copy")
    run_id = demo.listed_json[-1]["run_id"]

    def paste(text: str, *begins: str) -> subprocess.CompletedProcess[str]:
        (line,) = [line for line in printed_commands(text) if shlex.split(line)[1 : 1 + len(begins)] == list(begins)]
        words = shlex.split(line)
        folder = words[words.index("--workdir") + 1]
        assert folder in (str(demo.workdir), str(copy))
        return shell(line.replace(folder, str(copy)), tmp_path)

    status, review = in_pty(80, COMMAND, "review", "--no-open", "--workdir", copy, cwd=tmp_path)
    assert status == 0, review
    done = paste(review, "approve", run_id)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"pushed: run {run_id} is in serving as version \d+, approved by NAME", done.stdout)
    assert "absl" not in done.stderr and "oneDNN" not in done.stderr  # TensorFlow's notes

    again = paste(demo.waiting_terminal, "approve", run_id)
    assert again.returncode == 2 and f"run {run_id} was approved by NAME" in again.stderr
    assert run_id in paste(demo.first.terminal, "runs").stdout
    (ask,) = [line for line in printed_commands(demo.first.terminal) if " predict " in line]
    asked = shell(ask, tmp_path)  # FILE is not there
    assert asked.returncode == 2 and "FILE" in asked.stderr and "Traceback" not in asked.stderr
    assert paste(done.stderr, "rollback").returncode == 0


@pytest.mark.parametrize("command", ["runs", "review"])
def test_the_hint_where_nothing_has_been_run_is_a_whole_command(tmp_path, command):
    folder = tmp_path / "my own work"
    (hint,) = printed_commands(shell(shlex.join([str(COMMAND), command, "--workdir", str(folder)]), tmp_path).stderr)
    done = shell(f"{hint} --corpus nowhere", tmp_path)  # it gets as far as the corpus
    assert done.returncode == 2 and "nowhere: no such folder" in done.stderr
    assert (folder / "reports").is_dir()


def program(arguments: str, cwd: Path, path: str) -> str:
    """With which program the hint to make a run begins."""
    done = subprocess.run(
        ["bash", "-c", f"{arguments} runs --workdir none"],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PATH": path},
    )
    return printed_commands(done.stderr)[0].removesuffix(f" run --config demo --workdir {cwd}/none")


def test_a_command_is_named_as_it_was_typed(tmp_path):
    folder, system = COMMAND.parent, "/usr/bin:/bin"
    own = tmp_path / "bin with space"
    own.mkdir()
    (own / "audio-gender").write_bytes(COMMAND.read_bytes())
    (own / "audio-gender").chmod(0o755)
    assert program("audio-gender", tmp_path, f"{folder}:{system}") == "audio-gender"
    assert program(str(COMMAND), tmp_path, f"{folder}:{system}") == "audio-gender"
    assert program(str(COMMAND), tmp_path, system) == str(COMMAND)
    assert program("'bin with space/audio-gender'", tmp_path, system) == "'bin with space/audio-gender'"
    assert program(f"{folder}/python -m pipeline", tmp_path, system) == f"{folder}/python -m pipeline"


# What every command line has.


@pytest.mark.parametrize("arguments", [["-h"], ["run", "-h"], ["corpus", "-h"], ["corpus", "info", "-h"]])
def test_h_is_help(arguments):
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True)
    assert done.returncode == 0 and "Usage: audio-gender" in done.stdout and done.stderr == ""


def test_the_version_names_the_code(tmp_path):
    done = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert re.fullmatch(r"audio-gender \d+\.\d+\.\d+ \((git:[0-9a-f]{40}(-dirty)?|sha256:[0-9a-f]{64})\)\n", done.stdout)


def test_bash_completes_commands(tmp_path):
    """Asked of a real bash: the script is typer's."""
    line = (
        f'PATH={COMMAND.parent}:$PATH; eval "$(_AUDIO_GENDER_COMPLETE=source_bash audio-gender)"; '
        "COMP_WORDS=(audio-gender re); COMP_CWORD=1; _audio_gender_completion audio-gender; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert sorted(shell(line, tmp_path).stdout.split()) == ["reject", "review"]


def test_an_unknown_configuration_names_those_that_come_along(tmp_path):
    done = subprocess.run([COMMAND, "run", "--config", "dmo"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: dmo: no such file; name a configuration file, or the name of one that comes with the package: "
        "demo, librispeech, librispeech-mini\n"
    )


# Start-up.

LOADED = """
import sys
from pipeline import cli
sys.argv = ["audio-gender", *sys.argv[1:]]
try:
    cli.main()
finally:
    print("loaded:", *sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "tfx", "apache_beam", "keras"}))
"""


@pytest.mark.parametrize("command", ["runs", "review", "corpus"])
def test_commands_that_only_read_start_without_tensorflow_tfx_and_beam(demo, corpus, command):
    arguments = ["corpus", "info", corpus] if command == "corpus" else [command, "--workdir", demo.workdir]
    done = subprocess.run([sys.executable, "-c", LOADED, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"
