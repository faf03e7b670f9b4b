# SPDX-License-Identifier: Apache-2.0
"""The work of ClipExampleGen: check a dataset, or find that it was checked, and publish what names its clips."""

import json
from typing import Any

from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact, artifact_utils

import components.installed_workers  # noqa: F401 (a fault of TFX's executors)
from beam_jobs.clip_store import ClipsReference, read_index, write_reference
from beam_jobs.config import SPLITS
from beam_jobs.console import say
from beam_jobs.dataset import DatasetInfo, fingerprint, read_dataset_info
from beam_jobs.files import absolute, create, join
from beam_jobs.filesystems import set_filesystem_options
from beam_jobs.object_store import check_reachable
from components.clip_example_gen.artifact import DATASET_FINGERPRINT, DATASET_URI
from components.clip_example_gen.check import AGAIN, check_clips, check_description
from components.clip_example_gen.note import note_check, was_checked, what_would_be_checked

CODE = "code"
"""The property that `components.code_digest` sets."""


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of ClipExampleGen."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Checks the dataset; publishes the metadata of its clips, and the reference to them.

        Raises:
            UserError: the object store refuses, the folder is no dataset, or what lies in it is not what its description says.
        """
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        clips = artifact_utils.get_single_instance(output_dict["clips"])
        dataset = absolute(exec_properties["dataset_uri"])
        set_filesystem_options([str(argument) for argument in self._beam_pipeline_args])
        check_reachable(dataset)
        info, content = read_dataset_info(dataset), fingerprint(dataset)
        check_description(dataset, info, exec_properties["min_class_share"])
        checked = what_would_be_checked(dataset, info, content, str(exec_properties.get(CODE, "")))
        if was_checked(dataset, checked):
            say(f"every byte was checked before: {dataset}")
        else:
            check_clips(dataset, info, self._make_beam_pipeline())
            note_check(dataset, checked)
        publish_metadata(dataset, info, examples.uri)
        # As it was given: a work folder may be moved with the dataset in it.
        reference = ClipsReference(dataset_uri=exec_properties["dataset_uri"], fingerprint=content, shards=info.shards)
        write_reference(reference, clips.uri)
        for artifact in (examples, clips):
            artifact.set_string_custom_property(DATASET_URI, exec_properties["dataset_uri"])
            artifact.set_string_custom_property(DATASET_FINGERPRINT, content)
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples.set_string_custom_property("corpus_fingerprint", info.corpus_fingerprint)
        examples.set_string_custom_property("counts", json.dumps(info.counts))


def publish_metadata(dataset: str, info: DatasetInfo, target: str) -> None:
    """Copies the index of each shard to `target`/Split-<split>/, where TFX's components find a split's tf.Examples.

    Raises:
        UserError: one is gone, or is not what the description says.
    """
    reference = ClipsReference(dataset_uri=dataset, fingerprint="", shards=info.shards)
    for shard in info.shards:
        with create(join(target, f"Split-{shard.file}")) as copy:
            copy.write(read_index(reference, shard, AGAIN))
