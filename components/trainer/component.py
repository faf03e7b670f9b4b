# SPDX-License-Identifier: Apache-2.0
"""Trainer: TFX's own, with what a run of a compiled pipeline may change of the training."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import BaseChannel, channel_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.clip_example_gen.artifact import Clips
from components.trainer.executor import Executor
from components.trainer.spec import TrainingSpec


class TrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's, the clips, and the number of epochs, which cannot be a runtime parameter inside `custom_config`."""

    INPUTS = {**standard_component_specs.TrainerSpec.INPUTS, "clips": ChannelParameter(type=Clips)}

    PARAMETERS = {**standard_component_specs.TrainerSpec.PARAMETERS, "epochs": ExecutionParameter(type=int)}


class Trainer(base_component.BaseComponent):
    """Trains the network with `components.trainer.run_fn.run_fn`.

    Args:
        examples: Examples, the metadata, which TFX's part of the executor asks for.
        clips: Clips, of which the splits train and eval are used.
        transform_graph: TransformGraph of Transform.
        schema: Schema.
        hyperparameters: HyperParameters of a Tuner, if there is one.
        epochs: goes before that of `spec`.
        spec: what is trained.

    Outputs:
        model: Model, the SavedModel, with the `dataset_fingerprint` of the examples and the `model_digest` of its files.
        model_run: ModelRun, what watched the training.
    """

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: BaseChannel,
        clips: BaseChannel,
        transform_graph: BaseChannel,
        schema: BaseChannel,
        hyperparameters: BaseChannel | None,
        epochs: int | RuntimeParameter,
        spec: TrainingSpec,
    ) -> None:
        super().__init__(
            TrainerSpec(
                examples=examples,
                clips=clips,
                transform_graph=transform_graph,
                schema=schema,
                hyperparameters=hyperparameters,
                run_fn="components.trainer.run_fn.run_fn",
                train_args=trainer_pb2.TrainArgs(splits=["train"]),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                epochs=epochs,
                custom_config=spec.model_dump_json(),
                model=channel_utils.as_channel([standard_artifacts.Model()]),
                model_run=channel_utils.as_channel([standard_artifacts.ModelRun()]),
            )
        )
