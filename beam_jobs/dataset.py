# SPDX-License-Identifier: Apache-2.0
"""The dataset folder: names of its files, and `dataset_info.json`, without which a folder is no dataset."""

import hashlib
import json
import re
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from beam_jobs.command_line import command
from beam_jobs.config import SPLITS, ClipsConfig, Strict
from beam_jobs.corpus.left_out import FOLDERS, LABELS, OTHERS, SPEAKERS, UNUSABLE, counted
from beam_jobs.errors import UserError
from beam_jobs.files import ListedFile, cause, join, list_files, open_file, read_text, storage_errors

FORMAT_VERSION = 3
"""3: an index lies beside each shard, each record says where speech is in it, and shares of speech are of 25 frames a second.
2: shards are stretches of clips, classes are dealt in hands, no utterance is twice in a clip, corpora are known by content, and
`clip/speech_ratio` is measured (of version 1 it was the share that utterances cover)."""
INFO_FILE = "dataset_info.json"
CLIPS_FILE = "clips.csv"
REJECTED_FILE = "rejected.csv"
OWN_NAME = "[0-9a-f]{12}"
"""Of the folder of a dataset among others (`beam_jobs.dataset_folders`), as a regular expression."""


Split = Annotated[str, StringConstraints(pattern=f"^({'|'.join(SPLITS)})$")]
"""One of `SPLITS`."""


Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class ShardInfo(Strict):
    """One TFRecord file and its index. `file` is relative to the dataset folder; bytes and SHA-256 are of the whole file."""

    split: Split
    # What comes from elsewhere becomes a path only where it cannot leave its folder.
    file: Annotated[str, StringConstraints(pattern=r"^[a-z]+/[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    num_records: Annotated[int, Field(ge=0)]
    num_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
    index_bytes: Annotated[int, Field(ge=0)]
    index_sha256: Sha256

    @property
    def index_file(self) -> str:
        """TFRecord file of `beam_jobs.examples.IndexEntry`, one for each clip in the shard's order."""
        return f"{self.file.removesuffix('.tfrecord')}.index"

    @property
    def contents(self) -> dict[str, tuple[int, str]]:
        """Bytes and SHA-256 of both files, by name."""
        return {self.file: (self.num_bytes, self.sha256), self.index_file: (self.index_bytes, self.index_sha256)}

    @model_validator(mode="after")
    def _in_its_folder(self) -> Self:
        if not self.file.startswith(f"{self.split}/"):
            raise ValueError(f"file {self.file!r} is not in the folder of split {self.split}")
        return self


class DatasetInfo(Strict):
    """What a dataset folder holds and where it came from."""

    format_version: int
    clips: ClipsConfig
    classes: list[str]
    corpus_fingerprint: str
    """`beam_jobs.corpus.digest.corpus_digest`."""
    corpus_subsets: list[str] = []
    """Names of the corpus's parts that its speakers are of; empty in older datasets."""
    speakers: dict[Split, list[str]]
    """Ids of the speakers of each split."""
    counts: dict[Split, dict[str, int]]
    """Number of clips by split and class."""
    redraws: int
    rejected: int
    other_labels: dict[str, int] = {}
    """Labels of the corpus that are not in `clips.labels`, and how many speakers have them, who are left out."""
    unlabelled: list[str] = []
    """Speakers of the corpus without a usable label, who are left out."""
    unlisted: list[str] = []
    """Folders of speakers who are not in the corpus's list, left out."""
    passed_over: int = 0
    """Recordings in the corpus's folder that are not part of it."""
    duplicates: int
    """Files of the corpus that hold what another one of the same label and split holds."""
    shards: list[ShardInfo]

    @property
    def left_out(self) -> str:
        """What of the corpus was not used, in words; why, file by file, stands in `rejected.csv`."""
        numbers = {
            LABELS: len(self.other_labels),
            SPEAKERS: len(self.unlabelled),
            FOLDERS: len(self.unlisted),
            UNUSABLE: self.rejected,
            OTHERS: self.passed_over,
        }
        return ", ".join(counted(number, kind) for kind, number in numbers.items() if number)


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Name of a shard's file, relative to the dataset folder."""
    return f"{split}/clips-{shard:05d}-of-{num_shards:05d}.tfrecord"


def folder_above(dataset: str) -> str:
    """The folder of datasets that a dataset of its own folder is in; else `dataset`. Looks at the name alone."""
    above, _, name = dataset.rstrip("/").rpartition("/")
    in_one = re.fullmatch(OWN_NAME, name) and above and not above.endswith(":/")  # the name of a bucket
    return above if in_one else dataset


def _generate(folder: str) -> str:
    return command("clips", "generate", "--config", "FILE", "--corpus", "ROOT", "--output", folder)


def read_dataset_info(folder: str) -> DatasetInfo:
    """Reads a folder's `dataset_info.json`.

    Raises:
        UserError: there is none, it is damaged, or another format version wrote it.

    >>> from beam_jobs.config import NumClips
    >>> from beam_jobs.corpus.readers import read_corpus
    >>> from beam_jobs.generate_clips import generate_clips
    >>> clips = ClipsConfig(duration_s=3, num_clips=NumClips(train=10, eval=2, test=2), max_utterances=2)
    >>> _ = generate_clips(clips, read_corpus("corpus"), "clips")
    >>> read_dataset_info("clips").counts["train"]
    {'male': 5, 'female': 5}
    """
    path = join(folder, INFO_FILE)
    try:
        data: Any = json.loads(read_text(path))
        version = data["format_version"]
    except OSError:
        raise UserError(f"{folder}: not a dataset ({INFO_FILE} is missing); make one with `{_generate(folder)}`") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged; generate the dataset again") from None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{folder}: dataset of format version {version}, but this program reads version {FORMAT_VERSION}; "
            f"generate it again with `{_generate(folder)}`"
        )
    try:
        return DatasetInfo.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise UserError(f"{path}: damaged, {key}: {problem['msg']}; generate the dataset again") from None


def fingerprint(folder: str) -> str:
    """SHA-256 over what a dataset holds: its description, which has the checksum of each shard, and what was changed since.

    Where it lies, what it is called, and when it was made or copied make no difference. The description is written last: a
    shard that is younger or of another size is read, and gives the dataset another fingerprint where it holds something else.

    Raises:
        UserError: as `read_dataset_info`, or a shard cannot be read.

    >>> import shutil
    >>> from beam_jobs.config import NumClips
    >>> from beam_jobs.corpus.readers import read_corpus
    >>> from beam_jobs.generate_clips import generate_clips
    >>> clips = ClipsConfig(duration_s=3, num_clips=NumClips(train=10, eval=2, test=2), max_utterances=2)
    >>> _ = generate_clips(clips, read_corpus("corpus"), "clips")
    >>> fingerprint("clips") == fingerprint(shutil.copytree("clips", "copy"))
    True
    """
    info = read_dataset_info(folder)
    digest = hashlib.sha256(info.model_dump_json().encode())
    for name, sha256 in changed_files(folder, info).items():
        digest.update(f"{name} {sha256}".encode())
    return digest.hexdigest()


def changed_files(folder: str, info: DatasetInfo) -> dict[str, str]:
    """The files that are not what the description says, with their SHA-256, or `gone`; see `fingerprint`.

    Raises:
        UserError: one cannot be read.
    """
    described_s = max(file.modified_s for file in list_files(folder) if file.path.endswith(INFO_FILE))
    found = {f"{split}/{_name(file)}": file for split in SPLITS for file in list_files(join(folder, split))}
    changed = {}
    for name, (num_bytes, expected) in (item for shard in info.shards for item in shard.contents.items()):
        file = found.get(name)
        if file and file.num_bytes == num_bytes and file.modified_s <= described_s:
            continue
        sha256 = _sha256(file.path) if file else "gone"
        if sha256 != expected:
            changed[name] = sha256
    return changed


def _name(file: ListedFile) -> str:
    return file.path.rsplit("/", 1)[1]


def _sha256(path: str) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except storage_errors() as error:
        raise UserError(f"{path}: cannot be read ({cause(error)}); make it readable, or generate the dataset again") from None
