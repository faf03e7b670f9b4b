"""The work of ClipGenerator: read the corpus, run the Beam job."""

import json
from dataclasses import replace
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import Artifact

from beam_jobs.config import SPLITS, ClipsConfig
from beam_jobs.console import say
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.errors import UserError
from beam_jobs.files import STORAGE_ERRORS, cause, read_text
from beam_jobs.generate_clips import generate_clips

INDEX_FILE = "speaker_index.json"


class Executor(base_executor.BaseExecutor):
    """Executor of ClipGenerator."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Makes the dataset folder whole.

        Raises:
            UserError: no such corpus, one without an index, or as `beam_jobs.generate_clips`.
        """
        corpus, dataset = exec_properties["corpus_uri"], exec_properties["dataset_uri"]
        if not corpus:
            say(f"no corpus_uri: the dataset is taken as it is: {dataset}")
            return
        counts = {split: exec_properties[f"num_{split}_clips"] for split in SPLITS}
        clips = ClipsConfig.model_validate({**json.loads(exec_properties["clips"]), "num_clips": counts})
        index = _read_index(corpus) if "://" in corpus else read_corpus(corpus, json.loads(exec_properties["subsets"]))
        info = generate_clips(clips, index, dataset, json.loads(exec_properties["beam_options"]))
        say(f"{sum(shard.num_records for shard in info.shards)} clips in {len(info.shards)} shards: {dataset}")


def _read_index(corpus: str) -> SpeakerIndex:
    path = f"{corpus.rstrip('/')}/{INDEX_FILE}"
    try:
        return replace(SpeakerIndex.from_json(read_text(path), path), root=corpus)
    except STORAGE_ERRORS as error:
        raise UserError(
            f"{path}: {cause(error)}; a corpus that is no local folder needs its index there: "
            f"`audio-gender corpus info ROOT --json {INDEX_FILE}`"
        ) from None
