# SPDX-License-Identifier: Apache-2.0
"""ClipGenerator: a corpus becomes a dataset folder, where the pipeline itself is to make it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from beam_jobs.config import SPLITS, ClipsConfig
from beam_jobs.corpus.listing import Labelling
from components.clip_generator.executor import Executor


class ClipGeneratorSpec(ComponentSpec):
    """What goes in and out; the dataset folder is no artifact, because other pipelines may read it too."""

    PARAMETERS = {
        "corpus_uri": ExecutionParameter(type=str),
        "subsets": ExecutionParameter(type=str),
        "labelling": ExecutionParameter(type=str),
        "dataset_uri": ExecutionParameter(type=str),
        "clips": ExecutionParameter(type=str),
        "beam_options": ExecutionParameter(type=str),
        **{f"num_{split}_clips": ExecutionParameter(type=int) for split in SPLITS},
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {name: ChannelParameter(type=standard_artifacts.String) for name in ("dataset", "fingerprint")}


class ClipGenerator(base_component.BaseComponent):
    """Mixes clips with Beam, or finds them made.

    Args:
        corpus_uri: corpus root; empty where the dataset was made by something else. A corpus that is no local folder holds its
            index (`beam_jobs.corpus.readers.read_corpus`).
        subsets: subsets of the corpus; None for all.
        labelling: where the corpus's labels are.
        dataset_uri: the folder of datasets, in which each has one of its own, named by its settings and recordings: a whole one
            is left as it is, an unfinished one is gone on with, and those of before stay. Without a corpus the dataset itself.
        clips: the settings.
        num_clips: clips of each split, which go before those of `clips`.
        beam_options: of the job that makes the clips; a runner such as Flink is named here.

    Outputs:
        dataset: String, the dataset's folder.
        fingerprint: String, `beam_jobs.dataset.fingerprint` of the dataset: what a cache may know it by.
    """

    SPEC_CLASS = ClipGeneratorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        corpus_uri: str | RuntimeParameter,
        subsets: Sequence[str] | None,
        labelling: Labelling,
        dataset_uri: str | RuntimeParameter,
        clips: ClipsConfig,
        num_clips: Mapping[str, int | RuntimeParameter],
        beam_options: Sequence[str],
    ) -> None:
        super().__init__(
            ClipGeneratorSpec(
                corpus_uri=corpus_uri,
                subsets=json.dumps(subsets),
                labelling=json.dumps(asdict(labelling)),
                dataset_uri=dataset_uri,
                clips=clips.model_dump_json(),
                beam_options=json.dumps(list(beam_options)),
                **{f"num_{split}_clips": num_clips[split] for split in SPLITS},
                dataset=channel_utils.as_channel([standard_artifacts.String()]),
                fingerprint=channel_utils.as_channel([standard_artifacts.String()]),
            )
        )
