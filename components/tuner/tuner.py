# SPDX-License-Identifier: Apache-2.0
"""Tuner: TFX's own, on the clips of a reference. Like Transform's, it is no `component.py`: it keeps what TFX's declares."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import BaseChannel, channel_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter

from components.clip_example_gen.artifact import Clips
from components.tuner.executor import Executor
from components.tuner.search_space import TuningSpec


class TunerSpec(standard_component_specs.TunerSpec):
    """TFX's, and the clips."""

    INPUTS = {**standard_component_specs.TunerSpec.INPUTS, "clips": ChannelParameter(type=Clips)}


class Tuner(base_component.BaseComponent):
    """Searches settings with `components.tuner.tuner_fn.tuner_fn`.

    Args:
        examples: Examples, the metadata, which TFX's part of the executor asks for.
        clips: Clips, of which the splits train and eval are used.
        transform_graph: TransformGraph of Transform.
        schema: Schema.
        spec: the training whose settings are searched, and the search.

    Outputs:
        best_hyperparameters: HyperParameters, for the Trainer.
        tuner_results: TunerResults, a table of the trials.
    """

    SPEC_CLASS = TunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, *, examples: BaseChannel, clips: BaseChannel, transform_graph: BaseChannel, schema: BaseChannel, spec: TuningSpec
    ) -> None:
        super().__init__(
            TunerSpec(
                examples=examples,
                clips=clips,
                transform_graph=transform_graph,
                schema=schema,
                tuner_fn="components.tuner.tuner_fn.tuner_fn",
                train_args=trainer_pb2.TrainArgs(splits=["train"]),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                custom_config=spec.model_dump_json(),
                best_hyperparameters=channel_utils.as_channel([standard_artifacts.HyperParameters()]),
                tuner_results=channel_utils.as_channel([standard_artifacts.TunerResults()]),
            )
        )
