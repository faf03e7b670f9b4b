# SPDX-License-Identifier: Apache-2.0
"""Training data on its way to workers on other machines, and what they leave behind on its way back."""

from pathlib import Path

import pytest
from cluster_server import RUN_ID

from beam_jobs.errors import UserError
from components.trainer.workers.kubernetes.shared_folder import through_shared_folder


def test_inputs_go_to_the_shared_folder_and_outputs_come_back(make_fn_args, tmp_path):
    fn_args, run = make_fn_args(tmp_path, shared_folder=str(tmp_path / "training")), tmp_path / "training" / RUN_ID
    fn_args.schema_path = str(tmp_path / "schema.pbtxt")
    (tmp_path / "schema.pbtxt").write_text("feature {}")
    (run / "attempt-killed").mkdir(parents=True)
    (run / "checkpoints").mkdir()
    (run / "checkpoints/checkpoint").write_text("epoch 3")

    with through_shared_folder(fn_args, str(tmp_path / "training"), RUN_ID) as (staged, attempt):
        assert sorted(path.name for path in run.iterdir()) == [attempt.name, "checkpoints"]
        # No clip is copied: the workers read them where they lie.
        assert not list(attempt.rglob("*.tfrecord"))
        assert staged.custom_config["clips"] == fn_args.custom_config["clips"]
        assert (Path(staged.transform_graph_path) / "transform_fn/saved_model.pb").exists()
        assert Path(staged.schema_path).read_text() == "feature {}"
        assert staged.custom_config["checkpoints"] == str(run / "checkpoints")
        for value in (staged.transform_graph_path, staged.serving_model_dir):
            assert value.startswith(f"{attempt}/")
        (Path(staged.serving_model_dir) / "variables").mkdir(parents=True)
        (Path(staged.serving_model_dir) / "variables/data").write_text("weights")
        Path(staged.model_run_dir).mkdir()
        (Path(staged.model_run_dir) / "training.csv").write_text("epoch")

    assert (tmp_path / "serving/variables/data").read_text() == "weights"
    assert (tmp_path / "logs/training.csv").read_text() == "epoch"
    assert [path.name for path in run.iterdir()] == ["checkpoints"]
    assert fn_args.serving_model_dir == str(tmp_path / "serving")


def test_a_failed_training_leaves_its_checkpoints_alone(make_fn_args, tmp_path):
    (tmp_path / "training").mkdir()
    with (
        pytest.raises(RuntimeError),
        through_shared_folder(make_fn_args(tmp_path), str(tmp_path / "training"), RUN_ID) as (staged, _),
    ):
        Path(staged.custom_config["checkpoints"]).mkdir()
        Path(staged.serving_model_dir).mkdir()
        raise RuntimeError

    assert [path.name for path in (tmp_path / "training" / RUN_ID).iterdir()] == ["checkpoints"]
    assert not (tmp_path / "serving").exists()


def test_a_shared_folder_that_cannot_be_used_is_one_line(make_fn_args, tmp_path):
    with (
        pytest.raises(UserError, match=r"^the shared folder .*training does not exist; mount its claim"),
        through_shared_folder(make_fn_args(tmp_path), str(tmp_path / "training"), RUN_ID),
    ):
        pass

    (tmp_path / "training").mkdir()
    (tmp_path / "training" / RUN_ID).write_text("no folder")
    with (
        pytest.raises(UserError, match=r"^the shared folder .* cannot be used: .*; it must be writable"),
        through_shared_folder(make_fn_args(tmp_path), str(tmp_path / "training"), RUN_ID),
    ):
        pass
