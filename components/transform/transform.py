# SPDX-License-Identifier: Apache-2.0
"""Transform: TFX's own, whose Beam workers may be on other machines.

It is no `component.py`: TFX's declares outputs that it does not make here, and reads a property that it does not declare.
"""

from typing import Any

from tfx.components.transform import component
from tfx.dsl.components.base import executor_spec
from tfx.proto import transform_pb2
from tfx.types import BaseChannel

from components.transform.executor import Executor


class Transform(component.Transform):
    """Transform, of which only the graph is wanted: the Trainer applies it; inputs and outputs as TFX's."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self, *, examples: BaseChannel, schema: BaseChannel, preprocessing_fn: str, custom_config: dict[str, Any]
    ) -> None:
        super().__init__(
            examples=examples,
            schema=schema,
            preprocessing_fn=preprocessing_fn,
            splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=[]),
            custom_config=custom_config,
            materialize=False,
            disable_statistics=True,
        )
