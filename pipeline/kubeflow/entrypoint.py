# SPDX-License-Identifier: Apache-2.0
"""What a step's container runs on Kubeflow: `python -m pipeline.kubeflow.entrypoint` with the arguments of TFX's own entrypoint.

TFX's entrypoint was written for a managed service whose artifacts TensorFlow can open and whose inputs have types. Here it runs
unchanged, between two translations.
"""

import json
import sys
from pathlib import Path

from absl import flags
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

from beam_jobs.ending import USER_ERROR_STATUS, one_line_ending
from components.clip_example_gen import artifact as clips_artifact
from components.process_arguments import hidden_arguments
from components.review_report import artifact as report_artifact
from pipeline.kubeflow.executor_input import adapt_input
from pipeline.kubeflow.executor_output import adapt_output
from pipeline.kubeflow.problems import leave_for_kubernetes, one_line, report


def main(arguments: list[str]) -> int:
    """Runs one step.

    Args:
        arguments: `--executor_class_path`, `--json_serialized_invocation_args`, `--json_serialized_inputs_spec_args`, and
            what Beam gets.

    Returns:
        The exit status: 2 where one line says what the user can do about it.

    Raises whatever else the executor raises.
    """
    try:
        _run(arguments)
    except Exception as error:
        line = one_line(error)
        if line is None:
            leave_for_kubernetes(f"{type(error).__name__}: {error}")
            raise
        report(line)
        return USER_ERROR_STATUS
    return 0


def _run(arguments: list[str]) -> None:
    clips_artifact.register()
    report_artifact.register()
    parsed, beam_args = kubeflow_v2_run_executor._parse_flags(arguments)
    # As in pipeline/local_runner.py: batches of clips by their bytes.
    flags.FLAGS.tfxio_use_byte_size_batching = True
    executor_input = json.loads(parsed.json_serialized_invocation_args)
    adapt_input(executor_input, json.loads(parsed.json_serialized_inputs_spec_args))
    parsed.json_serialized_invocation_args = json.dumps(executor_input)
    with hidden_arguments():
        kubeflow_v2_run_executor.main((parsed, beam_args))
    output_file = Path(executor_input["outputs"]["outputFile"])
    executor_output = json.loads(output_file.read_text())
    adapt_output(executor_output, executor_input)
    output_file.write_text(json.dumps(executor_output))


if __name__ == "__main__":
    with one_line_ending():
        sys.exit(main(sys.argv[1:]))
