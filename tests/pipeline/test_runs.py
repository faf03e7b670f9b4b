# SPDX-License-Identifier: Apache-2.0
"""The list of runs and two of them side by side."""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from chromium import Chromium
from terminals import in_pty

from pipeline.outcome import Outcome
from pipeline.result import read_result, write_result
from pipeline.runs import list_runs

SPEECH, DENOISED = "a" * 64, "b" * 64


@pytest.fixture
def make(make_run, workdir) -> Callable[..., str]:
    """A function that records a finished run with its configuration and its data."""

    def run(number: int, config: dict, corpus_digest: str = SPEECH, verdict: str = "refused", **outcome) -> str:
        run_id = make_run(verdict, run_id=f"20261123-{number:06d}")
        (workdir.reports / run_id / "config.yaml").write_text(yaml.safe_dump(config))
        started = f"2026-11-23T00:{number // 60:02d}:{number % 60:02d}+00:00"
        stored = Outcome(run_id=run_id, started=started, state="finished", corpus_digest=corpus_digest, corpus="/c", **outcome)
        (workdir.reports / run_id / "outcome.json").write_text(stored.model_dump_json())
        return run_id

    return run


def test_each_run_says_in_what_it_differs_from_the_one_before(command, make, workdir):
    make(1, {"train": {"epochs": 4, "seed": 1}, "tune": None})
    make(2, {"train": {"epochs": 8, "seed": 1}, "tune": None})
    make(3, {"train": {"epochs": 8, "seed": 1}, "tune": {"trials": 3}}, corpus_digest=DENOISED)
    make(4, {"train": {"epochs": 8, "seed": 1}, "tune": {"trials": 3}}, corpus_digest=DENOISED)

    _, said = command("runs")

    changes = [["train.epochs 4 → 8"], ["tune.trials null → 3", "data"], []]
    assert [run.changed for run in list_runs(workdir)] == [[], *changes]
    assert re.search(r"^20261123-000002 .*by gate; accuracy on label=female is .*; train\.epochs 4 → 8$", said, re.MULTILINE)


def test_runs_are_found_by_name_and_tag_and_compared_with_the_one_before_that_is_listed(command, make, workdir):
    make(1, {"a": 1}, name="base", tags=["paper"])
    make(2, {"a": 2}, tags=["quick"])
    make(3, {"a": 3}, name="[wide]", tags=["paper", "quick"])

    found = list_runs(workdir, tags=["paper"])
    assert [(run.name, run.changed) for run in found] == [("base", []), ("[wide]", ["a 1 → 3"])]
    assert [run.name for run in list_runs(workdir, tags=["paper", "quick"])] == ["[wide]"]
    assert [run.name for run in list_runs(workdir, name="base")] == ["base"]
    assert "[wide] #paper #quick; " in command("runs", "--name", "[wide]")[1]
    status, said = command("runs", "--name", "bass", "--tag", "paper")
    assert (status, said.count(f"error: {workdir.root}: no run was made with --name bass and --tag paper; list all")) == (2, 1)


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_nothing_is_cut_on_a_terminal(make, workdir, columns):
    make(1, {"train": {"epochs": 4}}, name="the first one that was good enough", tags=["paper"])
    make(2, {"train": {"epochs": 8}, "model": {"filters": list(range(1000, 1020))}}, verdict="waiting")

    status, shown = in_pty(columns, sys.executable, "-m", "pipeline", "runs", "--workdir", workdir.root)

    lines = shown.splitlines()
    starts = [line for line in lines if re.match(r"20261123-00000[12] ", line)]
    assert (status, len(starts)) == (0, 2), shown
    assert max(map(len, lines[1:-1])) <= columns
    words = " ".join(" ".join(lines).split())
    assert "…" not in words
    assert all(text in words for text in ("waiting", "0.5000", "#paper", "1019]", "train.epochs"))


def test_two_runs_side_by_side(command, make, workdir):
    first = make(1, {"train": {"epochs": 4}}, name="base")
    second = make(2, {"train": {"epochs": 8}}, corpus_digest=DENOISED, verdict="waiting")
    for run_id, accuracy in ((first, 0.75), (second, 0.875)):
        result = read_result(workdir, run_id)
        metrics = {"clips": 8, "accuracy": accuracy, "ece": 0.1, "auc": {"male": 0.9, "female": None}}
        write_result(workdir, result.model_copy(update={"metrics": {"all": metrics}, "dataset_fingerprint": run_id}))

    status, said = command("runs", "compare", first, second)

    assert status == 0
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines == [
        f"A {first}: refused, by gate, accuracy on label=female is 0.5000, below 0.85, base",
        "corpus /c",
        f"B {second}: waiting",
        "corpus /c",
        "recordings: different",
        "clips: different, so a difference may come from the clips",
        "Settings that differ",
        "setting A B",
        "train.epochs 4 8",
        "Test speakers, whom the models never heard",
        "slice metric A B B - A",
        "all accuracy 0.7500 0.8750 +0.1250",
        "all ECE 0.1000 0.1000 +0.0000",
        "all AUC male 0.9000 0.9000 +0.0000",
    ]
    status, said = command("runs", "compare", first, second, "--json", "-")
    stored = json.loads(said)
    assert [run["verdict"] for run in stored["runs"]] == ["refused", "waiting"]
    assert stored["metrics"][0]["difference"] == pytest.approx(0.125)
    status, said = command("runs", "compare", first, "20200101-000000")
    assert (status, said.count(f"error: {workdir.root}: no run 20200101-000000; list the runs with")) == (2, 1)


def test_the_work_folder_may_be_given_before_compare(make, workdir):
    first, second = make(1, {"a": 1}), make(2, {"a": 2})
    command = [sys.executable, "-m", "pipeline", "runs", "--workdir", workdir.root, "compare", first, second]
    assert "\na        1  2\n" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_hundred_runs_are_listed_in_less_than_a_second_of_work_without_tensorflow(make, workdir, root):
    config = yaml.safe_load((root / "pipeline/configs/librispeech.yaml").read_text())
    for number in range(100):
        make(number, {**config, "name": number})
    code = (
        "import sys; from pipeline.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "print('loaded', sorted({'tensorflow', 'tfx', 'apache_beam', 'pandas'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "runs", "--workdir", workdir.root]

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert done.stdout.splitlines()[-1] == "loaded []"
    assert len(re.findall(r"^20261123-", done.stdout, re.MULTILINE)) == 100
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_the_page_of_two_runs_shows_metrics_over_all_and_a_browser_finds_it_accessible(
    command, make, workdir, tmp_path, width, dark
):
    runs = [make(number, {"train": {"epochs": 4 * number}}, name="<b>" if number == 2 else "") for number in range(1, 5)]
    for number, run_id in enumerate(runs):
        result = read_result(workdir, run_id)
        result.metrics["all"] |= {"accuracy": 0.9 + number / 50, "ece": 0.1 - number / 50}
        result.dataset_fingerprint = "other" if number == 3 else "same"
        write_result(workdir, result)

    status, said = command("runs", "compare", runs[0], runs[2], "--html", tmp_path / "runs.html")

    assert (status, "B - A" in said) == (0, True)
    page = (tmp_path / "runs.html").read_text()
    assert "<b>" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page) and "<script" not in page
    for run_id, text in zip(runs, ("0.900", "0.920", "0.940", "0.960"), strict=True):
        assert re.search(rf'<th scope="row">[AB]? ?{run_id}</th><td>set [12]</td><td>{text}</td>', page)
    assert "different clips: those of one set are joined" in page
    browser = Chromium(tmp_path / "profile", tmp_path / "none.wav")
    try:
        browser.show((tmp_path / "runs.html").as_uri(), width, dark)
        assert browser.run("document.querySelectorAll('svg').length") == 3
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        if pictures := os.environ.get("PICTURES"):
            browser.picture(Path(pictures) / f"runs-{width}-{dark}.png")
        browser.run("for (const item of document.querySelectorAll('details')) item.open = true; 0")
        browser.run(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8") + "; 0")
        found = browser.run("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(one => one.id))")
        assert found == []
        assert browser.said == []
    finally:
        browser.close()
