# SPDX-License-Identifier: Apache-2.0
"""A model in each of Beam's workers, which need not share a folder with the process that starts the job."""

import tempfile
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma

from beam_jobs.files import join
from beam_jobs.paths import is_uri
from components.staging import copy_folder


def shared_model(path: str, name: str, config: Any, place: str | None) -> Any:
    """TFMA's description of the SavedModel in the folder `path`; where there is a `place`, workers fetch it from there.

    Args:
        path: of this machine.
        name: the model's in `config`; empty for one that is alone.
        config: TFMA's EvalConfig.
        place: a folder that all workers reach; None where they see `path` itself.
    """
    model = tfma.default_eval_shared_model(path, model_name=name, eval_config=config)
    if place is None:
        return model
    there = join(place, f"model-{name}")
    copy_folder(path, there)
    loader = tfma.ModelLoader(construct_fn=fetch(there), tags=model.model_loader.tags)
    return model._replace(model_path=there, model_loader=loader)


def fetch(there: str) -> Callable[[], Any]:
    """What a worker calls once: TensorFlow opens no `s3://`, so that the model is copied to its own disk first."""

    def load() -> Any:
        if not is_uri(there):
            return tf.saved_model.load(there)
        with tempfile.TemporaryDirectory() as folder:
            copy_folder(there, folder)
            return tf.saved_model.load(folder)

    return load
