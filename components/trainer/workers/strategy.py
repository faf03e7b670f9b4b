# SPDX-License-Identifier: Apache-2.0
"""Where training runs: one device, the GPUs of a machine, many workers, a TPU. The one place that knows TF_CONFIG."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from beam_jobs.errors import UserError
from components.trainer.config import TrainConfig

CLUSTER_VARIABLE = "TF_CONFIG"
"""Where whoever starts a worker says which worker it is and where the others are."""


class PeerLostError(UserError):
    """A worker cannot go on because another one is gone."""


def make_strategy(train: TrainConfig) -> tf.distribute.Strategy:
    """The strategy under whose scope the model is built and compiled; must come before anything else of TensorFlow.

    Raises:
        UserError: there is no TPU, or no GPU for what needs one.
    """
    if not tf.config.list_physical_devices("GPU"):
        if train.precision == "mixed_float16":
            raise UserError("train.precision mixed_float16 needs a GPU; without one take mixed_bfloat16 or float32")
        if train.jit_compile and train.strategy in ("mirrored", "multi_worker"):
            raise UserError(
                f"train.jit_compile with train.strategy {train.strategy} needs GPUs: XLA cannot compile sums over several CPUs; "
                "set train.jit_compile to false"
            )
    if train.strategy == "mirrored":
        return tf.distribute.MirroredStrategy()
    if train.strategy == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if train.strategy == "tpu":
        return _tpu_strategy()
    return tf.distribute.get_strategy()


def _tpu_strategy() -> tf.distribute.Strategy:
    name = os.environ.get("TPU_NAME", "local")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"train.strategy is tpu, and there is no TPU by the name {name} ({reason}); set TPU_NAME, or train.strategy to "
            "one_device, mirrored or multi_worker"
        ) from None
    return tf.distribute.TPUStrategy(resolver)


def started_by_others() -> bool:
    """Whether this process is a worker of a cluster already."""
    return CLUSTER_VARIABLE in os.environ


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what the run leaves behind. There is one chief among the workers."""
    chief: bool = strategy.extended.should_checkpoint
    return chief


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Number of processes that train together; each has as many replicas as the others."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return max(1, len(jobs.get("chief", ())) + len(jobs.get("worker", ())))


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Number of this process among those that train together; 0 is the chief."""
    if num_workers(strategy) == 1:
        return 0
    resolver = strategy.cluster_resolver
    chiefs = len(resolver.cluster_spec().as_dict().get("chief", ()))
    return int(resolver.task_id) + (chiefs if resolver.task_type == "worker" else 0)


def worker_seed(seed: int, index: int) -> int:
    """What a worker draws from: the chief `seed` itself, as if it were alone, and each other worker a seed of its own."""
    return seed if index == 0 else int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns when all workers have come here: one that ends early looks dead to the others."""
    if num_workers(strategy) > 1:
        strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: tf.constant(0.0)), axis=None)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What every replica takes in an epoch. All take the same number of steps, or those with more would wait for ever."""

    train_steps: int
    eval_steps: int
    eval_batches: tuple[int, ...]
    """Clips of every eval batch of every replica, in the order of the records: the replicas take them in turn."""


def schedule(num_train: int, num_eval: int, batch_size: int, replicas: int, static_shapes: bool = False) -> Schedule:
    """Plans an epoch over `num_train` clips and the evaluation of `num_eval`.

    An epoch is at least one pass over the training clips, in full batches. Evaluation hears every clip exactly once: its
    batches differ by at most one clip, so that none is left out and no replica stands idle. Where shapes are static, up to
    one clip a batch is left out instead.

    Raises:
        UserError: there are fewer eval clips than replicas.
    """
    if num_eval < replicas:
        raise UserError(
            f"the eval split holds {num_eval} clips, fewer than the {replicas} replicas that share it; "
            "set clips.num_clips.eval higher or take fewer workers or devices"
        )
    eval_steps = min(math.ceil(num_eval / (batch_size * replicas)), num_eval // replicas)
    smallest, larger = divmod(num_eval, eval_steps * replicas)
    if static_shapes:
        larger = 0
    batches = tuple(smallest + (number < larger) for number in range(eval_steps * replicas))
    return Schedule(math.ceil(num_train / (batch_size * replicas)), eval_steps, batches)


def distribute(
    strategy: tf.distribute.Strategy, make: Callable[[tuple[int, int]], tf.data.Dataset]
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """What `fit` reads: `make((index, count))` is called for this process's share of `count`, in batches of one replica."""
    return strategy.distribute_datasets_from_function(
        lambda context: make((context.input_pipeline_id, context.num_input_pipelines))
    )
