# SPDX-License-Identifier: Apache-2.0
"""The work of StatisticsGen: TFX's, on artifacts that Beam's workers reach."""

from typing import Any

from tfx.components.statistics_gen import executor
from tfx.types import Artifact

import components.installed_workers  # noqa: F401 (a fault of TFX's executors)
from components.staging import staged


class Executor(executor.Executor):
    """Executor of StatisticsGen."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Writes the statistics of every split."""
        with staged(self._beam_pipeline_args, input_dict["examples"], output_dict["statistics"]):
            super().Do(input_dict, output_dict, exec_properties)
