"""Runs the DAG on this machine, node after node, one line a node."""

import time
from collections.abc import Callable

from absl import flags
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils

Report = Callable[[str, float, bool], None]
"""Called after each node with its name, its seconds, and whether it came from the cache."""


def run_pipeline(pipeline: Pipeline, run_id: str, after: Report) -> None:
    """Runs `pipeline` as TFX's LocalDagRunner does, which has no place to report progress or to choose the run's id.

    Raises whatever a node raises; the nodes before it stay recorded and cached.
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
    for node in ir.nodes:
        name = node.pipeline_node.node_info.id
        started = time.monotonic()
        node_launcher = launcher.Launcher(
            pipeline_node=node.pipeline_node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
        )
        execution = node_launcher.launch()
        cached = execution is not None and not execution.execution_output_uri
        after(name, time.monotonic() - started, cached)
