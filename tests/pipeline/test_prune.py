# SPDX-License-Identifier: Apache-2.0
"""What `audio-gender prune` removes, and that what it leaves is whole and runs on."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2
from small_demo import ANY_MODEL, PERFECT_MODEL, SMALL

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push
from pipeline.lineage import list_decisions
from pipeline.outcome import Outcome
from pipeline.runs import list_runs
from pipeline.store import open_store
from pipeline.workdir import WorkDir

COMMAND = Path(sys.executable).parent / "audio-gender"
LIVE, DELETED = metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Artifact.DELETED


def artifacts(workdir: WorkDir, state: int) -> list[Path]:
    return [workdir.path(item.uri) for item in open_store(workdir).get_artifacts() if item.state == state]


def run_ids(workdir: WorkDir) -> list[str]:
    return [run.run_id for run in list_runs(workdir)]


@pytest.fixture
def copy(demo, tmp_path) -> WorkDir:
    """The demo's work folder, to be pruned."""
    subprocess.run(["cp", "-a", demo.workdir, tmp_path / "work"], check=True)
    return WorkDir.at(tmp_path / "work")


@pytest.fixture
def run(audio_gender, root, copy):
    """A function that runs the demo in the copy; its nodes that were not in the cache."""

    def again(*settings: str) -> tuple[str, set[str]]:
        options = [argument for setting in (*SMALL, *settings) for argument in ("--set", setting)]
        done = audio_gender("run", "--config", root / "pipeline/configs/demo.yaml", "--workdir", copy.root, *options)
        nodes = re.findall(r"^([A-Z]\w+) +\d+\.\d s(  cached)?$", done.stderr, re.MULTILINE)
        return list_runs(copy)[-1].verdict, {name for name, cached in nodes if not cached}

    return again


@pytest.mark.slow
def test_after_a_prune_the_store_is_whole_and_runs_go_on(audio_gender, copy, demo, run, read_folder):
    first, refused, waiting = demo.first.result["run_id"], demo.refused.result["run_id"], run_ids(copy)[-1]
    serving = read_folder(copy.serving)
    before = artifacts(copy, LIVE)

    looked = audio_gender("prune", "--workdir", copy.root, "--keep", "0", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert (len(run_ids(copy)), artifacts(copy, LIVE)) == (5, before)
    size = lambda: sum(path.lstat().st_blocks * 512 for path in copy.root.rglob("*"))  # noqa: E731
    size_before = size()
    done = audio_gender("prune", "--workdir", copy.root, "--keep", "0", "--yes")

    assert done.returncode == 0, done.stderr
    said_mb = float(re.search(r"^total +([\d.]+)$", done.stdout, re.MULTILINE)[1])
    assert (size_before - size()) / 1e6 == pytest.approx(said_mb, abs=0.2)
    assert run_ids(copy) == [first, waiting], "the run of the model in serving stays, and the one that waits"
    assert read_folder(copy.serving) == serving
    assert {path.exists() for path in artifacts(copy, LIVE)} == {True}
    assert {path.exists() for path in artifacts(copy, DELETED)} == {False}
    assert len(artifacts(copy, LIVE)) + len(artifacts(copy, DELETED)) == len(before)
    assert not (copy.root / ".going").exists()
    assert not (copy.logs / f"{refused}.log").exists()
    assert {path.name for path in copy.reports.iterdir()} == {first, waiting}
    # A run whose artifacts stayed comes from the cache; one whose went is computed anew, from what stayed.
    assert run(*ANY_MODEL) == ("pushed", set())
    assert run(*ANY_MODEL, "push.mode=review") == ("waiting", set())
    verdict, anew = run(*PERFECT_MODEL)
    assert verdict == "refused"
    assert anew >= {"Gate", "Pusher"}
    assert anew.isdisjoint({"ClipExampleGen", "Transform", "Trainer"})
    assert audio_gender("review", first, "--workdir", copy.root, "--no-open").returncode == 0


def test_a_prune_that_is_killed_is_finished_by_the_next_one(audio_gender, copy):
    # What no run needs, and what takes a while to remove.
    for number in range(30_000):
        if number % 1000 == 0:
            folder = copy.tfx / f"Trainer/model/9{number // 1000:03d}"
            folder.mkdir()
        (folder / str(number)).touch()
    process = subprocess.Popen([COMMAND, "prune", "--workdir", copy.root, "--keep", "0", "--yes"], stdout=subprocess.DEVNULL)
    while not (copy.root / ".going/1").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any((copy.root / ".going").rglob("*")), "it was done before it was killed"
    assert {path.exists() for path in artifacts(copy, LIVE)} == {True}

    done = audio_gender("prune", "--workdir", copy.root, "--keep", "0", "--yes")

    assert done.returncode == 0, done.stderr
    assert len(run_ids(copy)) == 2
    assert not (copy.root / ".going").exists()
    assert not list(copy.tfx.glob("Trainer/model/9*"))
    assert {path.exists() for path in artifacts(copy, DELETED)} == {False}
    again = audio_gender("prune", "--workdir", copy.root, "--keep", "0", "--yes")
    assert again.stdout == "nothing to remove; 2 runs kept: 1 in serving, 1 waiting\n"


# On a few records in a real metadata store.


@pytest.fixture
def old_runs(make_run, workdir, model) -> list[str]:
    """Refused, waiting, refused (its model then put into serving by hand), refused: each with a dataset and a log of its own."""
    found = []
    for number, verdict in enumerate(["refused", "waiting", "refused", "refused"]):
        run_id = make_run(verdict, run_id=f"20200101-00000{number}")
        dataset = workdir.clips / f"{number:012x}"
        dataset.mkdir(parents=True)
        (dataset / "dataset_info.json").write_text("{}")
        started = f"2020-01-01T00:00:0{number}+00:00"
        outcome = Outcome(run_id=run_id, started=started, state="finished", dataset=f"clips/{dataset.name}")
        (workdir.reports / run_id / "outcome.json").write_text(outcome.model_dump_json())
        workdir.logs.mkdir(exist_ok=True)
        (workdir.logs / f"{run_id}.log").write_text("log")
        (workdir.logs / f"{run_id}-approved-{run_id}.log").write_text("log")
        found.append(run_id)
    push(model, workdir.serving, Provenance(by="Ada", login="a@b", action="approved", run_id=found[2]), keep=5)
    return found


def test_what_waits_and_what_is_in_serving_stays(command, old_runs, workdir):
    status, said = command("prune", "--keep", "0", "--yes")

    assert status == 0, said
    assert run_ids(workdir) == old_runs[1:3]
    assert sorted(path.name for path in workdir.clips.iterdir()) == ["000000000001", "000000000002"]
    assert {path.name[:15] for path in workdir.logs.iterdir()} == set(old_runs[1:3])
    # It is one model that all of them share.
    assert (workdir.tfx / "Trainer/model/7").is_dir()


@pytest.mark.parametrize(
    ("options", "left"),
    [((), 4), (("--keep", "1"), 3), (("--keep", "0", "--older-than", "52w"), 2), (("--keep", "0", "--older-than", "9999w"), 4)],
    ids=str,
)
def test_how_many_stay_and_how_old(command, old_runs, workdir, options, left):
    assert command("prune", "--yes", *options)[0] == 0
    assert len(run_ids(workdir)) == left


def test_it_asks_before_it_removes(command, old_runs, workdir, read_folder):
    before = read_folder(workdir.root)
    status, said = command("prune", "--keep", "0")  # pytest's stdin is no terminal
    assert status == 2
    assert said.count("error: nothing was removed: there is no terminal to ask for confirmation; give --yes") == 1
    assert command("prune", "--keep", "0", "--older-than", "soon")[0] == 2
    after = read_folder(workdir.root)
    assert {name: content for name, content in after.items() if name != ".lock"} == before


def test_it_asks_on_a_terminal_and_takes_no_for_an_answer(old_runs, workdir):
    # `script` gives the command a terminal of its own, as a person's is.
    command = f"{COMMAND} prune --keep 0 --workdir '{workdir.root}'"
    done = subprocess.run(["script", "-qec", command, "/dev/null"], input="n\n", capture_output=True, text=True, timeout=60)
    assert f"Remove it from {workdir.root}? [y/N]" in done.stdout
    assert run_ids(workdir) == old_runs


def test_not_while_a_run_is_at_work(command, old_runs, workdir):
    with workdir.locked():
        status, said = command("prune", "--keep", "0", "--yes")
    assert (status, said.count("another run is using this folder")) == (2, 1)


def test_what_others_put_there_stays(command, old_runs, workdir):
    for path in (workdir.clips / "mine", workdir.corpus / "LibriSpeech", workdir.reports / "notes"):
        path.mkdir(parents=True)
    (workdir.logs / "mine.log").touch()
    elsewhere = workdir.root.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (workdir.clips / "00000000000a").symlink_to(elsewhere)

    command("prune", "--keep", "0", "--yes")

    assert (workdir.clips / "mine").is_dir()
    assert (workdir.corpus / "LibriSpeech").is_dir()
    assert (workdir.reports / "notes").is_dir()
    assert (workdir.logs / "mine.log").exists()
    assert (workdir.clips / "00000000000a/file").exists()


def test_the_newest_run_stays_where_it_waits(command, make_run, workdir):
    run_id = make_run("waiting", run_id="20200101-000009")
    outcome = Outcome(run_id=run_id, started="2020-01-01T00:00:00+00:00", state="finished")
    (workdir.reports / run_id / "outcome.json").write_text(outcome.model_dump_json())
    assert command("prune", "--keep", "0", "--yes")[0] == 0
    assert run_ids(workdir) == [run_id]


def test_of_runs_that_never_came_to_the_pipeline(command, workdir):
    for number, at in enumerate(["Corpus", "Clips"]):
        run_id, dataset = f"20200101-00000{number}", f"clips/{number:012x}"
        (workdir.root / dataset / "_unfinished").mkdir(parents=True)
        (workdir.reports / run_id).mkdir(parents=True)
        outcome = Outcome(run_id=run_id, started="2020-01-01T00:00:00+00:00", state="interrupted", at=at, dataset=dataset)
        (workdir.reports / run_id / "outcome.json").write_text(outcome.model_dump_json())

    assert command("prune", "--keep", "1", "--yes")[0] == 0

    assert run_ids(workdir) == ["20200101-000001"]
    # What was mixed before it was interrupted is what the same run goes on with.
    assert [path.name for path in workdir.clips.iterdir()] == ["000000000001"]


def test_where_no_run_was_made_nothing_is_made(command, workdir):
    status, said = command("prune", "--yes")
    assert (status, said.count(f"error: {workdir.root}: no run was made here")) == (2, 1)
    assert not workdir.root.exists()


def test_decisions_stay_for_ever(command, old_runs, workdir):
    command("reject", old_runs[0], "--by", "Ada", "--note", "deaf to low voices")
    command("prune", "--keep", "0", "--yes")
    assert [decision.run_id for decision in list_decisions(workdir)] == [old_runs[0]]
    assert shutil.which("script"), "util-linux"
