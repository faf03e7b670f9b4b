"""The TFX Trainer's entry point: `run_fn='components.trainer.run_fn.run_fn'`."""

from typing import Any

from components.trainer.config import TrainConfig
from components.trainer.hyperparameters import with_hyperparameters
from components.trainer.training import train_and_export
from components.trainer.workers.launch import train_on_workers
from components.trainer.workers.strategy import started_by_others


def run_fn(fn_args: Any) -> None:
    """Trains the network on the raw examples and writes the SavedModel to `fn_args.serving_model_dir`.

    With `train.strategy` multi_worker it starts the workers and waits for them, but where TF_CONFIG is set: then it is one
    of them, and whoever set it starts the others.

    Args:
        fn_args: TFX's FnArgs. Of its `custom_config` these keys are read: `model` and `train` (sections of the
            configuration), `clips` (`num_samples`, `sample_rate_hz`), `classes` (names by label), `seed`, and, if it is
            there, `checkpoints`: the folder from which a killed training goes on; it is gone when training has succeeded. With
            `shared_folder` the workers of multi_worker are Pods of a Kubernetes cluster, and the checkpoints lie there.
            What a Tuner chose, `hyperparameters`, goes before the sections.

    Raises:
        UserError: the clips are too short for the model or the crop, a split is empty, the loss diverged, there is no TPU, or
            other workers are gone.
    """
    config = with_hyperparameters(fn_args.custom_config, fn_args.hyperparameters)
    train = TrainConfig.model_validate(config["train"])
    if train.strategy == "multi_worker" and not started_by_others():
        train_on_workers(fn_args, train.num_workers)
    else:
        train_and_export(fn_args)
