# SPDX-License-Identifier: Apache-2.0
"""ClipExampleValidator: TFX's ExampleValidator, held against the schema's STATISTICS environment."""

from tfx.components.example_validator import component
from tfx.dsl.components.base import executor_spec
from tfx.types import BaseChannel

from components.example_validator.executor import Executor


class ClipExampleValidator(component.ExampleValidator):
    """ExampleValidator for clips; inputs and outputs as TFX's."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, statistics: BaseChannel, schema: BaseChannel) -> None:
        super().__init__(statistics, schema)
