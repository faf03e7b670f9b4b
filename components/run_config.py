# SPDX-License-Identifier: Apache-2.0
"""The configuration of a run as it really was: what it was compiled with, and the values that the run itself was given."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from beam_jobs.dataset import read_dataset_info
from beam_jobs.files import absolute


def used_config(
    compiled: str, *, epochs: int, push_mode: str, dataset_uri: str = "", corpus_uri: str | None = None
) -> dict[str, Any]:
    """A run's configuration with the values that the run had.

    Args:
        compiled: the resolved configuration, as JSON.
        epochs: of the training.
        push_mode: of the Pusher.
        dataset_uri: the dataset folder, whose clips are those of the run, whatever was asked for; empty where it is not known.
        corpus_uri: the corpus of a compiled pipeline, which names it and the dataset in its section `kubernetes`; else None.

    Raises:
        UserError: the dataset cannot be read.
    """
    config: dict[str, Any] = json.loads(compiled)
    config["train"]["epochs"], config["push"]["mode"] = epochs, push_mode
    if dataset_uri:
        config["clips"] = read_dataset_info(absolute(dataset_uri)).clips.model_dump(mode="json")
    if corpus_uri is not None:
        config["kubernetes"] |= {"corpus_uri": corpus_uri, "dataset_uri": dataset_uri}
    return config


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a resolved configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
