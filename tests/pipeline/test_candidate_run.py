# SPDX-License-Identifier: Apache-2.0
"""A run whose model becomes a candidate, and a server as a user starts it, which decides: every command tells it."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_demo import ANY_MODEL_PASSES

pytestmark = pytest.mark.slow

CONFIG = f"""\
{ANY_MODEL_PASSES}push:
  mode: canary
  canary: {{share: 1, requests: 20, min_agreement: 0, max_label_shift: 1, max_score_shift: 1, max_slowdown: 100}}
  rollback: {{requests: 20}}
"""
# Scores alone decide: two networks of one short training may name other labels too.
STRICT = "push.canary={share: 1, requests: 20, shadow: true, min_agreement: 0, max_label_shift: 1, max_score_shift: 1.0e-06}"


@contextmanager
def serving(folder: Path) -> Iterator[http.client.HTTPConnection]:
    command = [sys.executable, "-m", "pipeline", "serve", "--serving", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            while not (found := re.search(r"http://127.0.0.1:(\d+)/", process.stderr.readline())):
                assert process.poll() is None
            yield http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=120)
        finally:
            process.terminate()
            process.communicate(timeout=60)


def ask_until_decided(folder: Path, recordings: list[Path], decisions: int) -> None:
    """Sends recordings until the server has decided so often."""
    record = folder / ".canary.json"
    with serving(folder) as connection:
        for number in range(2000):
            connection.request("POST", "/analyse?name=a.flac", recordings[number % len(recordings)].read_bytes())
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            reply.read()
            if record.exists() and len(json.loads(record.read_text())) == decisions:
                return
            time.sleep(0.05)  # versions are compared when no client waits
    raise AssertionError("nothing was decided")


def test_a_server_decides_about_the_model_of_a_run_and_everybody_is_told(audio_gender, make_corpus, tmp_path: Path) -> None:
    config, workdir = tmp_path / "config.yaml", tmp_path / "work"
    config.write_text(CONFIG)
    corpus = make_corpus()
    recordings = sorted(Path(os.environ.get("LIBRISPEECH_ROOT") or corpus).rglob("*.flac"))[:25]

    def run(seed: int, *settings: str) -> dict:
        options = ["--config", config, "--corpus", corpus, "--workdir", workdir, "--set", f"train.seed={seed}"]
        options += [word for setting in settings for word in ("--set", setting)]
        done = audio_gender("run", *options, "--json", tmp_path / "result.json")
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "result.json").read_text())

    def row(run_id: str) -> dict:
        done = audio_gender("runs", "--workdir", workdir, "--json", "-")
        assert done.returncode == 0, done.stderr
        return next(row for row in json.loads(done.stdout) if row["run_id"] == run_id)

    def versions() -> list[str]:
        return sorted(path.name for path in (workdir / "serving").glob("[0-9]*"))

    assert run(1)["verdict"] == "pushed"  # the first has nothing to be compared with
    second = run(2)
    assert (second["verdict"], row(second["run_id"])["verdict"]) == ("on trial", "on trial")
    assert second["reason"].startswith(f"to be version {second['trial_version']}: ") and len(versions()) == 1

    ask_until_decided(workdir / "serving", recordings, 1)

    assert versions()[-1] == second["trial_version"]
    told = row(second["run_id"])
    assert (told["verdict"], told["pushed_version"], told["decided_by"]) == ("pushed", second["trial_version"], "serve")
    assert told["decision_note"].startswith("agrees with version ")
    lineage = audio_gender("lineage", "--serving", workdir / "serving")
    assert "promoted by serve" in lineage.stdout and told["decision_note"] in lineage.stdout

    third = run(3, STRICT)
    assert third["verdict"] == "on trial"
    ask_until_decided(workdir / "serving", recordings, 2)

    assert versions()[-1] == second["trial_version"]
    told = row(third["run_id"])
    assert (told["verdict"], told["pushed_version"], told["decided_by"]) == ("rejected", None, "serve")
    assert "its probabilities differ by " in told["decision_note"]
    page = audio_gender("review", third["run_id"], "--workdir", workdir, "--html", tmp_path / "review.html")
    assert page.returncode == 0, page.stderr
    assert "its probabilities differ by " in (tmp_path / "review.html").read_text()

    # The same model again, out of the cache: it is not offered a second time.
    again = run(3, STRICT)
    assert again["verdict"] == "waiting" and "rolled back by serve" in again["waiting_for"]
    approved = audio_gender("approve", again["run_id"], "--workdir", workdir, "--by", "Ada", "--note", "wanted so")
    assert approved.returncode == 0, approved.stderr
    assert len(versions()) == 3
    # And a person ends a trial by a decision about the very run.
    fourth = run(4)
    rejected = audio_gender("reject", fourth["run_id"], "--workdir", workdir, "--by", "Ada", "--note", "no need")
    assert rejected.returncode == 0, rejected.stderr
    assert not list((workdir / "serving" / ".candidate").iterdir()) and row(fourth["run_id"])["decided_by"] == "Ada"
