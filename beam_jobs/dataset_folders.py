# SPDX-License-Identifier: Apache-2.0
"""Datasets in one folder, each in a folder of its own, whose name stands for its settings and the recordings it is made of."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace

from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.dataset import FORMAT_VERSION, INFO_FILE, OWN_NAME, DatasetInfo, folder_above, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.files import join, read_text, storage_errors
from beam_jobs.filesystems import FileSystems
from beam_jobs.make_shard import PLAN_FILE, UNFINISHED

MARKS = ((INFO_FILE,), (UNFINISHED, PLAN_FILE))
"""Files of which a dataset has one: a whole one the first, an unfinished one the second."""
MAX_NAMED = 5
"""Of other datasets, in the line about them."""
NO_PART_OF_CLIPS = "max_rejected_share"
"""The setting on which no clip depends."""


def dataset_name(clips: ClipsConfig, corpus_digest: str) -> str:
    """Name of the folder of a dataset, whose corpus is known by its digest."""
    default = ClipsConfig.model_fields[NO_PART_OF_CLIPS].default
    settings = clips.model_copy(update={NO_PART_OF_CLIPS: default}).model_dump_json()
    # Datasets of another format lie beside it: runs that made them still name them.
    text = f"{FORMAT_VERSION}{settings}{corpus_digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def datasets_folder(folder: str, name: str) -> str:
    """The folder of datasets that is meant by one of them: a run records its own dataset, and others start from that.

    That one may be gone since. `name`, that of the dataset in question, or other datasets beside it then tell what it was.
    """
    above = folder_above(folder)
    if above == folder:
        return folder
    if any(FileSystems.exists(join(folder, *mark)) for mark in MARKS):
        return above
    gone = not _holds_datasets(folder) and (name == folder.rsplit("/", 1)[1] or _holds_datasets(above))
    return above if gone else folder


def _holds_datasets(folder: str) -> bool:
    prefix = join(folder, "")
    found = FileSystems.match([join(_pattern(folder), "*", *mark) for mark in MARKS])
    names = (file.path.removeprefix(prefix).split("/")[0] for one in found for file in one.metadata_list)
    return any(re.fullmatch(OWN_NAME, name) for name in names)


def _pattern(folder: str) -> str:
    # Beam has no way to quote what it reads as a pattern. Folders of other names may match, and their files have another prefix.
    return re.sub(r"[*?[]", "?", folder)


def own_folder(folder: str, clips: ClipsConfig, index: SpeakerIndex, corpus_digest: str) -> str:
    """Where a dataset lies, or will: in a folder of its own, or in `folder` itself where it lies or was begun there already."""
    name = dataset_name(clips, corpus_digest)
    own = join(datasets_folder(folder, name), name)
    try:
        if FileSystems.exists(join(folder, INFO_FILE)):
            return folder if is_same(read_dataset_info(folder), clips, corpus_digest) else own
        begun = read_text(join(folder, UNFINISHED, PLAN_FILE))
    except (UserError, ValueError):  # one that this program does not read
        return own
    except storage_errors():  # none
        return own
    resumed = is_plan_of(begun, clips, index, corpus_digest) and not FileSystems.exists(join(own, INFO_FILE))
    return folder if resumed else own


def plan_of(clips: ClipsConfig, index: SpeakerIndex, corpus_digest: str) -> str:
    """What an unfinished dataset holds of its job: a text from which the workers' settings and corpus are read."""
    settings = clips.model_dump(exclude={NO_PART_OF_CLIPS})
    index = replace(index, passed_over=(), other_files={}, other_labels={})  # no clip depends on what is no part of the corpus
    return json.dumps({"clips": settings, "corpus_digest": corpus_digest, "index": json.loads(index.to_json())}, indent=1)


def is_plan_of(plan: str, clips: ClipsConfig, index: SpeakerIndex, corpus_digest: str) -> bool:
    """Whether a plan is of this job. Where the corpus lies makes no difference: it may have been moved since."""
    try:
        root = str(json.loads(plan)["index"]["root"])
    except (ValueError, KeyError, TypeError):  # damaged, so that it is no plan of ours
        return False
    return plan == plan_of(clips, replace(index, root=root), corpus_digest)


def is_same(info: DatasetInfo, clips: ClipsConfig, corpus_digest: str) -> bool:
    """Whether a dataset is what these settings and this corpus give."""
    return same_settings(info, clips) and info.corpus_fingerprint == corpus_digest


def same_settings(info: DatasetInfo, clips: ClipsConfig) -> bool:
    """Whether a dataset's settings are these; how many unusable files are too many changes no clip."""
    return info.clips.model_copy(update={NO_PART_OF_CLIPS: clips.max_rejected_share}) == clips


def datasets_below(folder: str) -> dict[str, int]:
    """Bytes of the datasets below a folder, whole or not, by name; "" for one that lies in the folder itself."""
    prefix, found = join(folder, ""), Counter[str]()
    matched = FileSystems.match([join(_pattern(folder), "**")])[0].metadata_list
    files = [file for file in matched if file.path.startswith(prefix)]
    in_itself = not {file.path for file in files}.isdisjoint(join(folder, *mark) for mark in MARKS)
    for file in files:
        first = file.path.removeprefix(prefix).split("/")[0]
        if re.fullmatch(OWN_NAME, first):
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
