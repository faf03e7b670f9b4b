# SPDX-License-Identifier: Apache-2.0
"""What a training is told, at the doors of those who are told it."""

import json
import os
import subprocess
import sys

import pytest

from beam_jobs.errors import UserError
from components.trainer.spec import TrainingSpec
from pipeline.config import CONFIGS, load_config
from pipeline.dag import training_spec


def test_what_the_dag_says_is_what_the_trainer_reads(make_fn_args, tmp_path):
    spec = training_spec(load_config(CONFIGS / "demo.yaml"))
    fn_args = make_fn_args(tmp_path)
    fn_args.custom_config = json.loads(spec.model_dump_json())

    assert TrainingSpec.of(fn_args) == spec


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            {"corpus": {}},
            r"^custom_config: unknown key corpus; known keys: checkpoints, classes, clips, decision_threshold, ",
        ),
        ({"train": {"epochs": "6"}}, r"^custom_config: train.epochs is '6': input should be a valid integer$"),
        ({"classes": ["female"]}, r"^custom_config: classes is \['female'\]: list should have at least 2 items"),
    ],
)
def test_what_is_not_valid_is_one_line(make_fn_args, tmp_path, parts, told):
    with pytest.raises(UserError, match=told):
        TrainingSpec.of(make_fn_args(tmp_path, **parts))


def test_values_of_a_tuner_go_before_the_configuration_s_and_are_validated(make_fn_args, tmp_path):
    fn_args = make_fn_args(tmp_path)
    fn_args.hyperparameters = {"values": {"model.n_fft": 256, "model.filters": "[4, 4, 4, 4]"}}

    assert TrainingSpec.of(fn_args).model.filters == [4, 4, 4, 4]
    with pytest.raises(UserError, match=r"^custom_config: train.epochs is 0: input should be greater than or equal to 1$"):
        TrainingSpec.of(fn_args).with_values({"train.epochs": 0})


def test_a_worker_says_in_its_error_file_what_is_not_valid(make_fn_args, tmp_path):
    job = tmp_path / "job.json"
    job.write_text(json.dumps(vars(make_fn_args(tmp_path, num_samples=0))))
    task = {"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}

    done = subprocess.run(
        [sys.executable, "-m", "components.trainer.worker", str(job)],
        env={**os.environ, "TF_CONFIG": json.dumps(task)},
        capture_output=True,
        timeout=300,
    )

    assert done.returncode == 2, done.stderr
    said = (tmp_path / "error-0.txt").read_text()
    assert said == "custom_config: num_samples is 0: input should be greater than or equal to 1"
