# SPDX-License-Identifier: Apache-2.0
"""The work of ClipGenerator: read the corpus, run the Beam job."""

import json
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import Artifact, artifact_utils

from beam_jobs.config import SPLITS, ClipsConfig
from beam_jobs.console import say
from beam_jobs.corpus.listing import Labelling
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.dataset import fingerprint, read_dataset_info
from beam_jobs.dataset_folders import datasets_below
from beam_jobs.errors import UserError
from beam_jobs.filesystems import set_filesystem_options
from beam_jobs.generate_clips import generate_below
from beam_jobs.object_store import check_reachable


class Executor(base_executor.BaseExecutor):
    """Executor of ClipGenerator."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Makes the dataset whole, in a folder of its own, or takes the one that is there; says where it lies.

        Raises:
            UserError: the object store refuses, there is neither corpus nor dataset, or as `read_corpus` and `generate_below`.
        """
        corpus, dataset = exec_properties["corpus_uri"], exec_properties["dataset_uri"].rstrip("/")
        set_filesystem_options(json.loads(exec_properties["beam_options"]))
        check_reachable(dataset)
        if corpus:
            dataset = _generate(corpus, dataset, exec_properties)
        else:
            say(f"no corpus_uri: the dataset is taken as it is: {dataset}")
            _check_there(dataset)
        artifact_utils.get_single_instance(output_dict["dataset"]).value = dataset
        artifact_utils.get_single_instance(output_dict["fingerprint"]).value = fingerprint(dataset)


def _check_there(dataset: str) -> None:
    try:
        read_dataset_info(dataset)
    except UserError as error:
        if not (below := sorted(filter(None, datasets_below(dataset)))):
            raise
        lie = "lies" if len(below) == 1 else "lie"
        raise UserError(f"{error}; {', '.join(below)} {lie} below it, give its folder") from None


def _generate(corpus: str, folder: str, exec_properties: dict[str, Any]) -> str:
    counts = {split: exec_properties[f"num_{split}_clips"] for split in SPLITS}
    clips = ClipsConfig.model_validate({**json.loads(exec_properties["clips"]), "num_clips": counts})
    labelling = Labelling(**json.loads(exec_properties["labelling"]))
    index = read_corpus(corpus, json.loads(exec_properties["subsets"]), labelling=labelling)
    dataset, info = generate_below(clips, index, folder, json.loads(exec_properties["beam_options"]))
    say(f"{sum(shard.num_records for shard in info.shards)} clips in {len(info.shards)} shards: {dataset}")
    return dataset
