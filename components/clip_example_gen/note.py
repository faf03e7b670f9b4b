# SPDX-License-Identifier: Apache-2.0
"""The note in a dataset folder that it was checked, so that the same content is not read again only to check it.

It may be trusted because it names what was checked by what nobody sets by hand: the dataset's fingerprint, which has the checksum
of each file, the code that checked, and of each file what its file system or object store says of its content (S3: ETag and size;
a local file: size, inode, and the times of its last change in nanoseconds, of which the kernel sets one). All of it was looked up
before the check began. Whatever differs, be it a copy that holds the same, is checked again. And it only spares this one check:
readers hold each byte against its checksum as they come to it.
"""

import json
from typing import Any

from beam_jobs.console import say
from beam_jobs.dataset import INFO_FILE, DatasetInfo
from beam_jobs.files import cause, file_state, join, read_text, storage_errors, write_atomically
from beam_jobs.paths import is_uri

CHECKED_FILE = "checked.json"


def what_would_be_checked(dataset: str, info: DatasetInfo, fingerprint: str, code: str) -> dict[str, Any]:
    """The note's content, as the dataset is now; `code` is the digest of the code that checks."""
    names = [INFO_FILE, *(name for shard in info.shards for name in shard.contents)]
    if is_uri(dataset):
        from beam_jobs.filesystems import list_contents

        listed = list_contents(dataset)
        states = {name: listed.get(name, "gone") for name in names}
    else:
        states = {name: file_state(join(dataset, name)) for name in names}
    return {"code": code, "fingerprint": fingerprint, "files": states}


def was_checked(dataset: str, content: dict[str, Any]) -> bool:
    """Whether the note says exactly that."""
    try:
        return bool(content["code"]) and json.loads(read_text(join(dataset, CHECKED_FILE))) == content
    except ValueError:
        return False
    except storage_errors():
        return False


def note_check(dataset: str, content: dict[str, Any]) -> None:
    """Leaves the note. Where the dataset may only be read, there is none, and the next check reads it again."""
    if not content["code"]:
        return
    try:
        write_atomically(join(dataset, CHECKED_FILE), json.dumps(content).encode())
    except storage_errors() as error:
        say(f"{dataset}: the note of this check cannot be written there ({cause(error)}); it will be checked again next time")
