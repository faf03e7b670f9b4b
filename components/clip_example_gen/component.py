# SPDX-License-Identifier: Apache-2.0
"""ClipExampleGen: a dataset folder is checked; its metadata become TFX Examples, and its audio a reference."""

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.types import ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.clip_example_gen.artifact import Clips
from components.clip_example_gen.executor import Executor


class ClipExampleGenSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {
        "dataset_uri": ExecutionParameter(type=str),
        "fingerprint": ExecutionParameter(type=str),
        "min_class_share": ExecutionParameter(type=float),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "clips": ChannelParameter(type=Clips),
    }


class ClipExampleGen(base_beam_component.BaseBeamComponent):
    """Checks a dataset folder whole and publishes what is known of its clips; the audio stays where it lies.

    Args:
        dataset_uri: the folder that `beam_jobs.generate_clips` wrote.
        fingerprint: `beam_jobs.dataset.fingerprint` of it; part of the cache key, so that a changed dataset is read anew.
        min_class_share: smallest share of a split's clips that each class must have.

    Outputs:
        examples: Examples with the splits train, eval and test, the metadata of each clip (the indexes of the dataset's
            shards), with what they were made of: `dataset_uri`, `dataset_fingerprint`, `corpus_fingerprint`, and `counts`, a JSON
            object of clips by split and class.
        clips: Clips, what `beam_jobs.clip_store` finds the clips by, with `dataset_uri` and `dataset_fingerprint`.
    """

    SPEC_CLASS = ClipExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *, dataset_uri: str | Placeholder, fingerprint: str | Placeholder, min_class_share: float) -> None:
        super().__init__(
            ClipExampleGenSpec(
                dataset_uri=dataset_uri,
                fingerprint=fingerprint,
                min_class_share=min_class_share,
                examples=channel_utils.as_channel([standard_artifacts.Examples()]),
                clips=channel_utils.as_channel([Clips()]),
            )
        )
