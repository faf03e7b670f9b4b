# SPDX-License-Identifier: Apache-2.0
"""The TFX Tuner's entry point: `tuner_fn='components.tuner.tuner_fn.tuner_fn'`."""

import gc
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import tensorflow as tf
import tf_keras as keras
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from tfx.components.tuner.component import TunerFnResult

from beam_jobs.clip_store import ClipsError
from beam_jobs.console import say
from beam_jobs.errors import UserError
from components.trainer import training
from components.trainer.hyperparameters import decode, encode, with_values
from components.tuner.search_space import SearchRange, TuneConfig, TuningSpec, format_settings, impossible

MAX_DRAWS = 1000
"""Draws in a row without a possible combination after which the space is taken for exhausted."""


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Makes the search over `tune.space`.

    Args:
        fn_args: TFX's FnArgs, with a TuningSpec as its `custom_config`.

    Raises:
        UserError: the spec is not valid.
    """
    return TunerFnResult(tuner=ClipTuner(fn_args), fit_kwargs={})


class NoClipsError(ClipsError, keras_tuner.errors.FatalError):
    """Ends the search: no other trial could read the clips either."""


class PossibleCombinations(keras_tuner.oracles.RandomSearchOracle):
    """Random search that draws no combination of which no network can be built."""

    def __init__(self, possible: Callable[[dict[str, Any]], bool], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._possible = possible

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Draws until a combination is possible, or says that there is none left."""
        for _ in range(MAX_DRAWS):
            drawn: dict[str, Any] = super().populate_space(trial_id)
            if drawn["values"] is None or self._possible(drawn["values"]):
                return drawn
        return {"status": TrialStatus.STOPPED, "values": None}


class ClipTuner(BaseTuner):
    """Runs trials: each is a training as the Trainer's, shorter, on one device and with nothing exported.

    KerasTuner chooses and keeps the books, and never meets a network: its own loop takes Keras 3 models only, whatever
    TF_USE_LEGACY_KERAS says (keras-team/keras-tuner#1039).
    """

    def __init__(self, fn_args: Any) -> None:
        # Where the Trainer keeps its checkpoints: the next trial, and then the Trainer, would go on from one trial's weights.
        spec = TuningSpec.of(fn_args).model_copy(update={"checkpoints": None, "shared_folder": None})
        self._fn_args, self._tune = fn_args, spec.tune
        # Open for all trials: what was fetched for one is there for the next.
        self._clips = spec.open_clips()
        self._last_failure = "no combination in tune.space makes a valid network"
        how = {"train.epochs": self._tune.epochs, "train.strategy": "one_device", "train.wandb_project": None}
        # Classification reports are of no use to a search.
        how["train.monitor_every"] = self._tune.epochs + 1
        self._spec = spec.with_values(how)
        sections = self._spec.model_dump(mode="json")
        oracle = PossibleCombinations(
            lambda values: not impossible(with_values(sections, decode(values)), spec.num_samples, spec.sample_rate_hz),
            objective=keras_tuner.Objective(self._tune.objective, "min" if self._tune.objective == "val_loss" else "max"),
            max_trials=self._tune.trials,
            # KerasTuner takes 0 for no seed.
            seed=spec.train.seed + 1,
            hyperparameters=_hyperparameters(self._tune),
            # A failed trial is one result among others; `on_search_end` judges the whole.
            max_consecutive_failed_trials=self._tune.trials + 1,
        )
        super().__init__(oracle, directory=fn_args.working_dir, project_name="tuning", overwrite=True)

    def run_trial(self, trial: Trial, **fit_kwargs: Any) -> dict[str, float]:
        """Trains one combination; returns `val_loss` and `val_accuracy` of its best epoch, which training would keep.

        Raises:
            FailedTrialError: the loss diverged, or the network does not fit into memory.
            NoClipsError: the clips are not what was checked.
        """
        started = time.monotonic()
        head = f"  trial {len(self.oracle.trials)}/{self._tune.trials}"
        words = format_settings(decode(trial.hyperparameters.values))
        try:
            metrics = self._train(trial)
        except ClipsError as error:
            raise NoClipsError(str(error)) from None
        except (UserError, tf.errors.ResourceExhaustedError) as error:
            self._last_failure = str(error).splitlines()[0]
            say(f"{head} failed ({self._last_failure}): {words}")
            raise keras_tuner.errors.FailedTrialError(self._last_failure) from error
        except Exception as error:
            # Any other error would be taken for a failed trial: it is a bug.
            raise keras_tuner.errors.FatalError(f"trial {trial.trial_id} stopped") from error
        figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        say(f"{head}: {figures} in {time.monotonic() - started:.1f} s: {words}")
        return metrics

    def on_search_end(self) -> None:
        """Says what was best.

        Raises:
            UserError: no trial came to an end.
        """
        self._clips.close()
        trials = self.oracle.trials.values()
        if not any(trial.status == TrialStatus.COMPLETED for trial in trials):
            raise UserError(f"tuning: none of {len(trials)} trials finished: {self._last_failure}")
        if len(trials) < self._tune.trials:
            say(f"  {len(trials)} of {self._tune.trials} trials: tune.space holds no more combinations")
        best = self.oracle.get_best_trials(1)[0]
        say(f"  best trial: {self._tune.objective} {best.score:.4f}: {format_settings(decode(best.hyperparameters.values))}")

    def _train(self, trial: Trial) -> dict[str, float]:
        # What is left of the trial before: its graph, and a network that only cycles of references keep in memory.
        keras.backend.clear_session()
        gc.collect()
        log_dir = Path(self._fn_args.working_dir, "logs", trial.trial_id)
        spec = self._spec.with_values(decode(trial.hyperparameters.values))
        history = training.train_network(self._clips, self._fn_args, spec, str(log_dir)).history.history
        best_epoch = int(np.argmin(history["val_loss"]))
        metrics = {name: float(history[name][best_epoch]) for name in ("val_loss", "val_accuracy")}
        if not math.isfinite(metrics["val_loss"]):
            raise UserError(f"the eval loss is {metrics['val_loss']}")
        return metrics


def _hyperparameters(tune: TuneConfig) -> keras_tuner.HyperParameters:
    hyperparameters = keras_tuner.HyperParameters()
    for key, values in tune.space.items():
        if isinstance(values, SearchRange):
            hyperparameters.Float(key, values.min, values.max, sampling="log" if values.log else "linear")
        else:
            hyperparameters.Choice(key, [encode(value) for value in values])
    return hyperparameters
