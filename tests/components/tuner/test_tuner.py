# SPDX-License-Identifier: Apache-2.0
"""TFX's own Tuner executor over small real artifacts, and what the Trainer makes of its choice."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from clip_datasets import reference_to
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts
from tfx.utils import json_utils, proto_utils

from beam_jobs.clip_store import write_reference
from beam_jobs.console import console
from beam_jobs.errors import UserError
from components.clip_example_gen.artifact import Clips
from components.trainer import training
from components.trainer.hyperparameters import encode, with_hyperparameters
from components.trainer.run_fn import run_fn
from components.tuner.executor import Executor
from components.tuner.search_space import read_best
from components.tuner.tuner_fn import tuner_fn

# 400 samples are longer than n_fft, and 1e30 diverges: two trials come to their end.
SPACE = {
    "model.n_fft": [256],
    "model.hop_length": [128, 400],
    "model.filters": [[4, 4, 4, 4]],
    "train.learning_rate": [5e-3, 1e-2, 1e30],
}


@pytest.fixture(scope="module")
def tune(shards: Path, transform_graph: Path, make_fn_args, tmp_path_factory):
    """A function that runs the executor and returns its artifacts' folders, its table and what the terminal showed."""

    def run(space: dict, trials: int) -> SimpleNamespace:
        folder = tmp_path_factory.mktemp("tuner")
        examples, graph = standard_artifacts.Examples(), standard_artifacts.TransformGraph()
        examples.uri, examples.split_names = str(folder / "examples"), '["train", "eval"]'
        clips = Clips()
        clips.uri = str(folder / "clips")
        write_reference(reference_to(shards), clips.uri)
        graph.uri = str(transform_graph)
        best, results = standard_artifacts.HyperParameters(), standard_artifacts.TunerResults()
        best.uri, results.uri = str(folder / "best"), str(folder / "results")
        section, checkpoints = {"trials": trials, "epochs": 2, "space": space}, str(folder / "checkpoints")
        properties = {
            "tuner_fn": "components.tuner.tuner_fn.tuner_fn",
            "train_args": proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=["train"])),
            "eval_args": proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=["eval"])),
            "custom_config": json_utils.dumps(make_fn_args(folder, tune=section, checkpoints=checkpoints).custom_config),
        }
        executor = Executor(BaseExecutor.Context(tmp_dir=str(folder / "tmp"), unique_id="1"))
        with console.capture() as terminal:
            executor.Do(
                {"examples": [examples], "clips": [clips], "transform_graph": [graph]},
                {"best_hyperparameters": [best], "tuner_results": [results]},
                properties,
            )
        table = json.loads(Path(results.uri, "tuner_results.json").read_text())
        return SimpleNamespace(best=best.uri, table=table, terminal=terminal.get(), checkpoints=Path(checkpoints))

    return run


@pytest.fixture(scope="module")
def tuned(tune) -> SimpleNamespace:
    return tune(SPACE, trials=5)


def test_no_trial_goes_on_from_the_weights_of_another_and_the_trainer_from_none(tuned):
    assert "goes on" not in tuned.terminal
    assert not tuned.checkpoints.exists()


@pytest.fixture
def draw(make_fn_args, tmp_path):
    """A function that returns the combinations that a search would try, in order, without training any."""

    def run(space: dict, trials: int, **sections) -> list[dict]:
        fn_args = make_fn_args(tmp_path, tune={"trials": trials, "space": space}, **sections)
        fn_args.working_dir = str(tmp_path)
        oracle = tuner_fn(fn_args).tuner.oracle
        drawn = []
        while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
            drawn.append(trial.hyperparameters.values)
            oracle.update_trial(trial.trial_id, {"val_loss": 1.0})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        return drawn

    return run


def test_finished_trials_make_a_table_and_the_first_of_it_is_the_choice(tuned):
    assert sorted(row["train.learning_rate"] for row in tuned.table) == [5e-3, 1e-2]
    assert {key for row in tuned.table for key in row} == {"trial_id", "score", *SPACE}
    assert tuned.table[0]["score"] < tuned.table[1]["score"]
    assert read_best(tuned.best) == {
        "model.n_fft": 256,
        "model.hop_length": 128,
        "model.filters": [4, 4, 4, 4],
        "train.learning_rate": tuned.table[0]["train.learning_rate"],
    }


def test_each_trial_is_a_line_and_a_diverging_one_is_a_failed_one_among_others(tuned):
    lines = [line for line in tuned.terminal.splitlines() if line.startswith("  trial ")]

    assert [line.split()[1][:3] for line in lines] == ["1/5", "2/5", "3/5"]
    (failed,) = (line for line in lines if "failed (training diverged: the loss is nan" in line)
    assert "train.learning_rate=1e+30" in failed
    assert "3 of 5 trials: tune.space holds no more combinations" in tuned.terminal
    assert f"best trial: val_loss {tuned.table[0]['score']:.4f}: " in tuned.terminal


def test_a_trial_comes_out_the_same_whatever_was_tried_before_it(tune, tuned):
    last = max(tuned.table, key=lambda row: int(row["trial_id"]))

    (alone,) = tune({key: [[4, 4, 4, 4]] if key == "model.filters" else [last[key]] for key in SPACE}, trials=1).table

    assert alone["score"] == last["score"]


def test_the_same_seed_draws_the_same_trials(draw):
    space = {"model.n_mels": [16, 24, 32], "train.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}}

    # 0 is the configuration's default, and KerasTuner's word for no seed.
    first = draw(space, 4, train={"crop_s": 1.0, "seed": 0})

    assert first == draw(space, 4, train={"crop_s": 1.0, "seed": 0})
    assert first != draw(space, 4, train={"crop_s": 1.0, "seed": 1})
    assert all(1e-4 <= values["train.learning_rate"] <= 1e-2 for values in first)


def test_a_combination_of_which_no_network_can_be_built_is_never_drawn(draw):
    # Crops of 1 s at 8 kHz: 4096 + 4000 samples are longer, and 256 is shorter than a hop of 4000.
    drawn = draw({"model.n_fft": [256, 4096], "model.hop_length": [128, 4000]}, 10)

    assert sorted(values["model.n_fft"] for values in drawn) == [256, 4096]
    assert {values["model.hop_length"] for values in drawn} == {128}


def test_the_trainer_puts_what_was_chosen_before_its_configuration(make_fn_args, tmp_path):
    fn_args = make_fn_args(tmp_path)
    fn_args.hyperparameters = {"space": [], "values": {"train.crop_s": 6.0}}

    with pytest.raises(UserError, match=r"train.crop_s 6 is longer than a clip of 1.5 s"):
        run_fn(fn_args)


def test_values_survive_keras_tuner_and_the_rest_of_the_configuration_stands():
    config = {"model": {"n_fft": 512, "n_mels": 32}, "train": {"jit_compile": False, "epochs": 3}, "seed": 1}
    values = {"model.n_fft": 256, "model.filters": [4, 8], "model.architecture": "conv3d", "train.jit_compile": True}

    merged = with_hyperparameters(config, {"values": {key: encode(value) for key, value in values.items()}})

    assert merged["model"] == {"n_fft": 256, "n_mels": 32, "filters": [4, 8], "architecture": "conv3d"}
    assert merged["train"] == {"jit_compile": True, "epochs": 3}
    assert with_hyperparameters(config, None) == config


def test_where_no_trial_comes_to_its_end_the_run_stops_with_a_line(tune, monkeypatch):
    def diverging(*given):
        raise UserError("training diverged")

    monkeypatch.setattr(training, "train_network", diverging)
    with pytest.raises(UserError, match=r"tuning: none of 3 trials finished: training diverged"):
        tune(SPACE, trials=5)


def test_an_error_of_the_code_is_not_taken_for_a_failed_trial(tune, monkeypatch):
    def broken(*given):
        raise TypeError("a bug")

    monkeypatch.setattr(training, "train_network", broken)
    with pytest.raises(Exception, match="trial 0 stopped") as caught:
        tune(SPACE, trials=5)
    assert isinstance(caught.value.__cause__, TypeError)
