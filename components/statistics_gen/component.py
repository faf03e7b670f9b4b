# SPDX-License-Identifier: Apache-2.0
"""StatisticsGen: TFX's own, whose Beam workers may be on other machines."""

from tensorflow_data_validation import StatsOptions
from tfx.components.statistics_gen import component
from tfx.dsl.components.base import executor_spec
from tfx.types import BaseChannel

from components.statistics_gen.executor import Executor


class StatisticsGen(component.StatisticsGen):
    """StatisticsGen; inputs and outputs as TFX's."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *, examples: BaseChannel, stats_options: StatsOptions) -> None:
        super().__init__(examples=examples, stats_options=stats_options)
