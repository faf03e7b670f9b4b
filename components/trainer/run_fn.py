# SPDX-License-Identifier: Apache-2.0
"""The TFX Trainer's entry point: `run_fn='components.trainer.run_fn.run_fn'`."""

from typing import Any

from components.trainer.spec import TrainingSpec
from components.trainer.training import train_and_export
from components.trainer.workers.launch import train_on_workers
from components.trainer.workers.strategy import started_by_others


def run_fn(fn_args: Any) -> None:
    """Trains the network on the raw examples and writes the SavedModel to `fn_args.serving_model_dir`.

    With `train.strategy` multi_worker it starts the workers and waits for them, but where TF_CONFIG is set: then it is one
    of them, and whoever set it starts the others.

    Args:
        fn_args: TFX's FnArgs, with a TrainingSpec as its `custom_config`.

    Raises:
        UserError: the spec is not valid, the clips are too short for the model or the crop, a split is empty, the loss diverged,
            there is no TPU, or other workers are gone.
    """
    spec = TrainingSpec.of(fn_args)
    if spec.train.strategy == "multi_worker" and not started_by_others():
        train_on_workers(fn_args, spec)
    else:
        train_and_export(fn_args, spec)
