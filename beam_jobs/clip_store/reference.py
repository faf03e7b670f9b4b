# SPDX-License-Identifier: Apache-2.0
"""What names the clips of a checked dataset: some hundred bytes a shard in place of the audio."""

from typing import Self

from beam_jobs.dataset import ShardInfo, fingerprint, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.files import absolute, join, read_text, write_atomically
from beam_jobs.paths import is_uri
from beam_jobs.sections import Strict

REFERENCE_FILE = "clips.json"


class ClipsReference(Strict):
    """A dataset folder, its content by `beam_jobs.dataset.fingerprint`, and its shards."""

    dataset_uri: str
    fingerprint: str
    shards: list[ShardInfo]

    @classmethod
    def of_dataset(cls, dataset: str) -> Self:
        """The reference to a dataset as it is now.

        Raises:
            UserError: as `beam_jobs.dataset.fingerprint`.
        """
        return cls(dataset_uri=dataset, fingerprint=fingerprint(dataset), shards=read_dataset_info(dataset).shards)

    @property
    def is_local(self) -> bool:
        """Whether the dataset is a folder of this machine."""
        return not is_uri(self.dataset_uri)

    def of_split(self, split: str) -> list[ShardInfo]:
        """The shards of a split that hold clips, in the order of the clips."""
        return sorted(
            (shard for shard in self.shards if shard.split == split and shard.num_records), key=lambda shard: shard.file
        )

    def location(self, file: str) -> str:
        """The path or address of a file that is named relative to the dataset folder."""
        return join(self.dataset_uri, *file.split("/"))


def write_reference(reference: ClipsReference, folder: str) -> None:
    """Writes the reference into an artifact's folder."""
    write_atomically(join(folder, REFERENCE_FILE), reference.model_dump_json().encode())


def read_reference(folder: str) -> ClipsReference:
    """Reads the reference from an artifact's folder. A relative dataset folder becomes one from the root on.

    Raises:
        UserError: it is not there or damaged.
    """
    try:
        found = ClipsReference.model_validate_json(read_text(join(folder, REFERENCE_FILE)))
    except (OSError, ValueError):
        raise UserError(f"{folder}: no {REFERENCE_FILE} of this version; make a new run") from None
    return found.model_copy(update={"dataset_uri": absolute(found.dataset_uri)})
