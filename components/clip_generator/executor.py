"""The work of ClipGenerator: read the corpus, run the Beam job."""

import json
from dataclasses import replace
from typing import Any

from apache_beam.io.filesystems import FileSystems
from tfx.dsl.components.base import base_executor
from tfx.types import Artifact

from beam_jobs.config import SPLITS, ClipsConfig
from beam_jobs.console import say
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.dataset import INFO_FILE, DatasetInfo, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.files import STORAGE_ERRORS, cause, read_text
from beam_jobs.generate_clips import generate_clips
from beam_jobs.object_store import check_reachable

INDEX_FILE = "speaker_index.json"


class Executor(base_executor.BaseExecutor):
    """Executor of ClipGenerator."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Makes the dataset folder whole.

        Raises:
            UserError: no such corpus, one without an index, another dataset is there, the object store refuses, or as
                `beam_jobs.generate_clips`.
        """
        corpus, dataset = exec_properties["corpus_uri"], exec_properties["dataset_uri"]
        if not corpus:
            say(f"no corpus_uri: the dataset is taken as it is: {dataset}")
            return
        for uri in (corpus, dataset):
            check_reachable(uri)
        counts = {split: exec_properties[f"num_{split}_clips"] for split in SPLITS}
        clips = ClipsConfig.model_validate({**json.loads(exec_properties["clips"]), "num_clips": counts})
        index = _read_index(corpus) if "://" in corpus else read_corpus(corpus, json.loads(exec_properties["subsets"]))
        made = FileSystems.exists(FileSystems.join(dataset, INFO_FILE))
        if made:
            info = _check_same(read_dataset_info(dataset), clips, index, dataset)
        else:
            info = generate_clips(clips, index, dataset, json.loads(exec_properties["beam_options"]))
        total = sum(shard.num_records for shard in info.shards)
        say(f"{total} clips in {len(info.shards)} shards: {dataset}{' (made before)' if made else ''}")


def _check_same(info: DatasetInfo, clips: ClipsConfig, index: SpeakerIndex, dataset: str) -> DatasetInfo:
    if info.clips != clips or info.corpus_fingerprint != index.fingerprint():
        what = "another corpus" if info.clips == clips else "other settings"
        raise UserError(f"{dataset}: holds a dataset of {what}; give another dataset_uri, or no corpus_uri to take it as it is")
    return info


def _read_index(corpus: str) -> SpeakerIndex:
    path = f"{corpus.rstrip('/')}/{INDEX_FILE}"
    try:
        return replace(SpeakerIndex.from_json(read_text(path), path), root=corpus)
    except STORAGE_ERRORS as error:
        raise UserError(
            f"{path}: {cause(error)}; a corpus that is no local folder needs its index there: "
            f"`audio-gender corpus info ROOT --json {INDEX_FILE}`"
        ) from None
