# SPDX-License-Identifier: Apache-2.0
"""Datasets in one folder, each in a folder of its own, whose name stands for its settings and the recordings it is made of."""

import hashlib
import re
from collections import Counter

from beam_jobs.config import ClipsConfig
from beam_jobs.dataset import FORMAT_VERSION, INFO_FILE, DatasetInfo, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.files import join
from beam_jobs.filesystems import FileSystems

NAME = "[0-9a-f]{12}"
"""Of a dataset's own folder, as a regular expression."""
MAX_NAMED = 5
"""Of other datasets, in the line about them."""


def dataset_name(clips: ClipsConfig, corpus_digest: str) -> str:
    """Name of the folder of a dataset, whose corpus is known by its digest."""
    # Datasets of another format lie beside it: runs that made them still name them.
    text = f"{FORMAT_VERSION}{clips.model_dump_json()}{corpus_digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own_folder(folder: str, clips: ClipsConfig, corpus_digest: str) -> str:
    """Where a dataset lies, or will: below `folder`, or in it where it lies there already."""
    try:
        if is_same(read_dataset_info(folder), clips, corpus_digest):
            return folder
    except UserError:  # it holds none, or one that this program does not read
        pass
    return join(folder, dataset_name(clips, corpus_digest))


def is_same(info: DatasetInfo, clips: ClipsConfig, corpus_digest: str) -> bool:
    """Whether a dataset is what these settings and this corpus give."""
    return same_settings(info, clips) and info.corpus_fingerprint == corpus_digest


def same_settings(info: DatasetInfo, clips: ClipsConfig) -> bool:
    """Whether a dataset's settings are these; how many unusable files are too many changes no clip."""
    return info.clips.model_copy(update={"max_rejected_share": clips.max_rejected_share}) == clips


def datasets_below(folder: str) -> dict[str, int]:
    """Bytes of the datasets below a folder, whole or not, by name; "" for one that lies in the folder itself."""
    prefix, found = join(folder, ""), Counter[str]()
    files = FileSystems.match([join(folder, "**")])[0].metadata_list
    in_itself = any(file.path == join(folder, INFO_FILE) for file in files)
    for file in files:
        first = file.path.removeprefix(prefix).split("/")[0]
        if re.fullmatch(NAME, first):
            found[first] += file.size_in_bytes
        elif in_itself:
            found[""] += file.size_in_bytes
    return dict(found)


def other_datasets(folder: str, dataset: str) -> str:
    """What to say of the datasets of a folder but for `dataset`; empty where there are none."""
    others = {name: size for name, size in datasets_below(folder).items() if join(folder, name).rstrip("/") != dataset}
    if not others:
        return ""
    names = [name or "the one in the folder itself" for name in sorted(others)]
    more = [f"{len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    what = "1 other dataset" if len(names) == 1 else f"{len(names)} other datasets"
    return (
        f"kept below {folder}: {what} of other settings or recordings ({', '.join([*names[:MAX_NAMED], *more])}), "
        f"{sum(others.values()) / 1e9:.1f} GB; remove what no run needs any more"
    )
