# SPDX-License-Identifier: Apache-2.0
"""A signal ends a command at once: one line, 128 + its number, no child process and no temporary file left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import soundfile
from commands import COMMAND, CONFIG, ROOT, environment
from small_demo import ANY_MODEL, SMALL

from components.pusher.serving_folder import versions
from pipeline.runs import list_runs
from pipeline.workdir import WorkDir

WORDS = {signal.SIGINT: "Ctrl-C (SIGINT)", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP: its terminal was closed"}
WITHIN_S = 60


class Command:
    """`audio-gender` at work, with temporary files in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        self.log = folder / "terminal.txt"
        with self.log.open("wb") as log:
            self.process = psutil.Popen(
                [*COMMAND, *map(str, arguments)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(TMPDIR=str(self.temporary)),
                start_new_session=True,
            )

    def wait_for(self, moment: Callable[["Command"], object]) -> None:
        deadline = time.monotonic() + 400
        while not moment(self):
            assert self.process.poll() is None, f"ended too soon: {self.log.read_text()}"
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self, sent: signal.Signals) -> None:
        """Sends the signal to this process alone, as `kill` does, and checks how it ends."""
        children = self.process.children(recursive=True)
        self.process.send_signal(sent)
        status = self.process.wait(WITHIN_S)
        text = self.log.read_text()
        assert status == 128 + sent, text
        assert text.splitlines()[-1] == f"stopped by {WORDS[sent]}"
        assert "Traceback" not in text
        _, alive = psutil.wait_procs(children, timeout=60)
        assert alive == []
        assert list(self.temporary.iterdir()) == []

    def reads(self, ending: str) -> bool:
        """Whether a file with that ending is open in it."""
        try:
            return any(file.path.endswith(ending) for file in self.process.open_files())
        except psutil.Error:
            return False

    def has_child(self, word: str) -> bool:
        """Whether a child process has that word in its command line."""
        for child in self.process.children(recursive=True):
            try:
                if any(word in part for part in child.cmdline()):
                    return True
            except psutil.Error:
                continue
        return False

    def has_scratch(self) -> bool:
        """Whether its folder of temporary files is there: it is at work."""
        return any(self.temporary.iterdir())

    def said(self, words: str) -> bool:
        """Whether it printed that."""
        return words in self.log.read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def run(*arguments: str | Path) -> Command:
        started.append(Command(tmp_path, *arguments))
        return started[-1]

    yield run
    for command in started:
        if command.process.poll() is None:
            command.process.kill()


@pytest.mark.parametrize("sent", WORDS)
def test_while_the_corpus_is_read(start, make_tone, tmp_path, sent):
    # An MP3 without a header that says its length is decoded for it: here 300 of ten minutes.
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    soundfile.write(tmp_path / "a.mp3", make_tone(120, 600), 16_000)
    headless = (tmp_path / "a.mp3").read_bytes().replace(b"Xing", b"none").replace(b"Info", b"none")
    (corpus / "0.mp3").write_bytes(headless)
    for number in range(1, 300):
        os.link(corpus / "0.mp3", corpus / f"{number}.mp3")
    rows = "".join(f"{number}.mp3,{number},female\n" for number in range(300))
    (corpus / "utterances.csv").write_text("path,speaker_id,label\n" + rows)

    command = start("corpus", "info", corpus, "--json", tmp_path / "index.json")
    command.wait_for(lambda it: it.reads(".mp3"))
    command.stop(sent)
    assert not (tmp_path / "index.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_while_clips_are_mixed(start, corpus, tmp_path, sent, mode):
    output = tmp_path / "clips"
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("train: 4", "train: 40000").replace("clips_per_shard: 2", "clips_per_shard: 500"))
    beam = ["--", "--runner=DirectRunner", f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    command = start("clips", "generate", "--config", config, "--corpus", corpus, "--output", output, *beam)
    # Beam gives the clips out to its workers in bundles, the first of which are done before all processes are there.
    command.wait_for(lambda it: list(output.glob("_unfinished/train-*.json")))
    command.stop(sent)

    # Only what an unfinished job goes on from.
    assert {path.suffix for path in (output / "_unfinished").iterdir()} == {".json"}
    assert not (output / "dataset_info.json").exists()


@pytest.mark.slow
def test_in_each_part_of_a_run(start, tmp_path):
    settings = [word for setting in (*SMALL, *ANY_MODEL) for word in ("--set", setting)]
    demo = ["run", "--config", ROOT / "pipeline/configs/demo.yaml", "--workdir", tmp_path / "work", *settings]

    command = start(*demo)
    command.wait_for(lambda it: it.said("DataGate"))  # in Transform, a Beam job inside of TFX
    command.stop(signal.SIGTERM)

    command = start(*demo, "--set", "train.strategy=multi_worker")
    command.wait_for(lambda it: it.said("epoch 1/4"))
    assert command.has_child("components.trainer.worker")
    command.stop(signal.SIGTERM)

    command = start(*demo)
    command.wait_for(lambda it: it.said("epoch 1/4"))
    command.stop(signal.SIGINT)

    command = start(*demo)
    command.wait_for(lambda it: it.has_child("serving_check/probe.py"))
    command.stop(signal.SIGTERM)

    # Nothing of all this is in the way of the next.
    command = start(*demo)
    assert command.process.wait(600) == 0, command.log.read_text()
    assert command.said("\npushed\n")


@pytest.mark.slow
def test_while_people_look_listen_and_decide(start, demo, make_tone, tmp_path):
    work = Path(shutil.copytree(demo.workdir, tmp_path / "work", symlinks=True))
    (run,) = [run.run_id for run in list_runs(WorkDir.at(work)) if run.verdict == "waiting"]
    soundfile.write(tmp_path / "voice.wav", make_tone(120, 5), 16_000)
    stop_each(start, work, run, tmp_path)


def stop_each(start, work, run, folder):
    """Each command is stopped where it works; the decisions are then given again, and end the work."""
    serving = work / "serving"
    approve = ["approve", run, "--by", "Ada", "--workdir", work]
    back = ["rollback", "--by", "Ada", "--note", "hums", "--workdir", work]
    before = versions(serving)
    for arguments, moment in (
        (["review", run, "--workdir", work, "--no-open"], lambda it: it.said("drawing the page") or it.reads("metadata.db")),
        (["predict", folder / "voice.wav", "--serving", serving], lambda it: it.has_scratch()),
        (
            ["export", str(before[-1]), "--to", "tflite", "--workdir", work, "--output", folder / "a.tflite"],
            lambda it: it.has_scratch(),
        ),
    ):
        stop_at(moment, start(*arguments))
    assert not (folder / "a.tflite").exists()
    for arguments, moment in (
        (approve, lambda it: list((work / "logs").glob(f"{run}-approved-*")) or it.said("pushing")),
        (back, lambda it: it.has_scratch()),  # its work itself is over in no time; test_killed.py stops that
    ):
        stop_at(moment, start(*arguments))
        again = start(*arguments)
        again.process.wait(600)
        said = again.log.read_text()
        assert again.process.returncode == 0 or "was approved by Ada" in said, said
    assert [path.name for path in serving.iterdir() if path.name.startswith((".coming-", ".going-"))] == []
    assert versions(serving)[: len(before)] == before
    assert len(versions(serving)) == len(before) + 2


def stop_at(moment, command):
    command.wait_for(moment)
    command.stop(signal.SIGTERM)


LOST = """
import os, signal, time
from beam_jobs.ending import one_line_ending
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
with one_line_ending():
    Dying()
    time.sleep(30)
    print("went on")
"""


def test_one_that_arrives_where_python_ignores_what_is_raised(tmp_path):
    """In `__del__` or a weak reference's callback, which garbage collection runs amid anything."""
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, env=environment(), timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "stopped by SIGTERM\n")


SWALLOWED = """
import os, signal, time
from beam_jobs.ending import one_line_ending
with one_line_ending():
    try:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        except KeyboardInterrupt:
            raise SystemError("a result with an exception set") from None
    except Exception:
        print("failed, tried again")
    try:
        time.sleep(30)
        print("went on")
    finally:
        time.sleep(3)
        print("cleaned up", flush=True)
"""


def test_one_that_others_take_for_a_failure(tmp_path):
    """As TensorFlow and Beam did: the run went on and pushed. What cleans up after it has all the time that it needs."""
    done = subprocess.run([sys.executable, "-c", SWALLOWED], capture_output=True, text=True, env=environment(), timeout=60)
    said = "failed, tried again\ncleaned up\n"
    assert (done.returncode, done.stdout, done.stderr) == (143, said, "stopped by SIGTERM\n")


def test_one_that_is_ignored_from_the_start_stays_ignored(corpus):
    """As `nohup` does it, and a shell to what it runs in the background."""
    done = subprocess.run(
        ["sh", "-c", 'trap "" HUP INT; "$@" & kill -HUP $!; wait $!', "sh", *COMMAND, "corpus", "info", corpus],
        capture_output=True,
        env=environment(),
        timeout=120,
    )
    assert done.returncode == 0
