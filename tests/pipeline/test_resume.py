# SPDX-License-Identifier: Apache-2.0
"""`run --resume` after a kill in the middle of training."""

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_demo import TINY

from pipeline.config import load_config
from pipeline.dag import RunContext, checkpoint_folder

COMMAND = Path(sys.executable).parent / "audio-gender"
CONFIG = f"""\
{TINY}train: {{epochs: 30, batch_size: 8, crop_s: 0.5, early_stopping_patience: 30}}
gate:
  overall: {{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}}
  slices: {{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def finished_epochs(workdir: Path) -> int:
    """Number of epochs in the checkpoint of the one training that is under way."""
    for path in workdir.glob("tfx/checkpoints/*/chief/checkpoint"):
        return int(re.search(r'model_checkpoint_path: "ckpt-(\d+)"', path.read_text())[1])
    return 0


@pytest.mark.slow
def test_resume_goes_on_after_a_kill_in_training(config, make_corpus, tmp_path, audio_gender):
    workdir = tmp_path / "work"
    options = ["--config", config, "--corpus", make_corpus(), "--workdir", workdir]
    with (tmp_path / "killed.txt").open("w") as terminal:
        killed = subprocess.Popen([COMMAND, "run", *options, "--resume"], stderr=terminal)
    deadline = time.monotonic() + 600
    while finished_epochs(workdir) < 3:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = finished_epochs(workdir)
    told = "nothing to resume: no training with these clips, this configuration and this code has finished an epoch"
    assert told in (tmp_path / "killed.txt").read_text()

    resumed = audio_gender("run", *options, "--resume")

    assert resumed.returncode == 0, resumed.stderr
    assert f"training goes on from epoch {done + 1} of 30: {workdir}/tfx/checkpoints/" in resumed.stderr
    assert "nothing to resume" not in resumed.stderr
    assert re.search(r"^ClipExampleGen .* cached$", resumed.stderr, re.MULTILINE)
    assert not list((workdir / "tfx/checkpoints").iterdir())


@pytest.mark.parametrize("setting", ["train.epochs=31", "train.seed=1", "model.n_mels=32", "clips.mixed_share=0.2"])
def test_another_configuration_has_other_checkpoints(config, setting):
    at = RunContext("clips", "1", "tfx", "serving", None)
    same, other = load_config(config), load_config(config, [setting])

    assert checkpoint_folder(same, at) == checkpoint_folder(load_config(config, ["gate.overall.min_accuracy=1"]), at)
    assert checkpoint_folder(same, at) != checkpoint_folder(other, at)
    assert checkpoint_folder(same, at) != checkpoint_folder(same, replace(at, dataset_fingerprint="2"))
