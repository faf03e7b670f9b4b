# SPDX-License-Identifier: Apache-2.0
"""A model that a person took out of serving does not come back by itself, on a laptop whose weekly run comes from the cache."""

import json
from pathlib import Path

import pytest
from small_demo import ANY_MODEL_PASSES

pytestmark = pytest.mark.slow

CONFIG = f"""\
{ANY_MODEL_PASSES}push: {{mode: auto}}
"""


def test_a_rollback_is_not_undone_by_the_weekly_run(audio_gender, make_corpus, tmp_path: Path) -> None:
    config, workdir = tmp_path / "config.yaml", tmp_path / "work"
    config.write_text(CONFIG)
    corpus = make_corpus()

    def run(seed: int) -> dict:
        options = ["--config", config, "--corpus", corpus, "--workdir", workdir, "--set", f"train.seed={seed}"]
        done = audio_gender("run", *options, "--json", tmp_path / "result.json")
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "result.json").read_text())

    good, bad = run(1), run(2)
    assert (good["verdict"], bad["verdict"]) == ("pushed", "pushed")
    assert audio_gender("rollback", "--workdir", workdir, "--by", "Ada", "--note", "false alarms").returncode == 0
    versions = sorted(path.name for path in (workdir / "serving").glob("[0-9]*"))

    weekly = run(2)

    assert next(node["cached"] for node in weekly["nodes"] if node["node"] == "Trainer")
    assert weekly["verdict"] == "waiting"
    assert "this model was rolled back by Ada on 20" in weekly["reason"] and ": false alarms" in weekly["reason"]
    assert sorted(path.name for path in (workdir / "serving").glob("[0-9]*")) == versions

    approved = audio_gender("approve", weekly["run_id"], "--workdir", workdir, "--by", "Ada", "--note", "was not the model")
    assert approved.returncode == 0, approved.stderr
    assert len(list((workdir / "serving").glob("[0-9]*"))) == len(versions) + 1
    assert run(2)["verdict"] == "pushed"
