# SPDX-License-Identifier: Apache-2.0
"""Runs the DAG on this machine, node after node, one line a node."""

import time
from collections.abc import Callable

from absl import flags
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from beam_jobs.errors import UserError
from components.process_arguments import hidden_arguments

Before = Callable[[str], None]
"""Called with a node's name before it begins."""
After = Callable[[str, float, bool], None]
"""Called after each node with its name, its seconds, and whether it came from the cache."""


def run_pipeline(
    pipeline: Pipeline, run_id: str, before: Before, after: After, only: str | None = None, base_run_id: str | None = None
) -> None:
    """Runs `pipeline` as TFX's LocalDagRunner does, which has no place to report progress or to choose the run's id.

    With `only`, that node alone is run, on what the nodes before it made in the run `base_run_id`: TFX's partial run.

    Raises whatever a node raises, and UserError where the earlier run is not whole; the nodes before it stay recorded and cached.
    """
    # Clips of 60 s: without this, Beam grows batches up to 1,000 records, gigabytes each (tfx_bsl.coders.batch_util).
    flags.FLAGS(["audio-gender"], known_only=True)
    flags.FLAGS.tfxio_use_byte_size_batching = True
    ir = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    deployment = runner_utils.extract_local_deployment_config(ir)
    connection = getattr(
        deployment.metadata_connection_config, deployment.metadata_connection_config.WhichOneof("connection_config")
    )
    if only and base_run_id:
        settings = pipeline_pb2.SnapshotSettings()
        partial_run_utils.set_base_pipeline_run_strategy(settings, base_run_id)
        partial_run_utils.mark_pipeline(ir, from_nodes=[only], to_nodes=[only], snapshot_settings=settings)
        try:
            with metadata.Metadata(connection) as store:
                partial_run_utils.snapshot(store, ir)
        except LookupError as error:
            raise UserError(f"run {base_run_id} lacks a part that {only} needs ({error}); make a new run") from None
    for node in ir.nodes:
        if node.pipeline_node.execution_options.HasField("skip"):
            continue
        name = node.pipeline_node.node_info.id
        before(name)
        started = time.monotonic()
        node_launcher = launcher.Launcher(
            pipeline_node=node.pipeline_node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
        )
        with hidden_arguments():
            execution = node_launcher.launch()
        cached = execution is not None and not execution.execution_output_uri
        after(name, time.monotonic() - started, cached)
