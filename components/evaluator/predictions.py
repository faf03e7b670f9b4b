# SPDX-License-Identifier: Apache-2.0
"""Raw predictions of the test clips, in shards: what the gate's intervals and the report rest on.

`predictions/clips-SSSSS-of-NNNNN.jsonl` hold a JSON object for each clip, in no order, as Beam's workers wrote them;
`predictions/models.json`, written last, says by which thresholds each model decides.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_jobs.files import create, join, list_files, open_file, read_text
from components.decision_rule import predicted_classes

FOLDER, MODELS_FILE, CLIPS = "predictions", "models.json", "clips"
CANDIDATE, BASELINE = "candidate", "baseline"


@dataclasses.dataclass(frozen=True, slots=True)
class Predictions:
    """What both models say about each test clip, and what is known of the clip; sorted by clip id.

    `labels` and `num_speakers` are int64 [clips], `rms_dbfs` and `speech_ratio` float32 [clips], the probabilities of
    `candidate` and `baseline` float32 [clips, classes]. `baseline` is None where no model is in serving. The names of the
    classes are those that the model itself gave, in its order; None where it gave none, or not the same for every clip.
    The thresholds are those by which each model decides, float64 [classes]; None for even ones.
    """

    ids: list[str]
    labels: np.ndarray
    candidate: np.ndarray
    baseline: np.ndarray | None
    candidate_classes: list[str] | None
    speaker_ids: list[tuple[str, ...]]
    utterance_ids: list[tuple[str, ...]]
    modes: list[str]
    num_speakers: np.ndarray
    rms_dbfs: np.ndarray
    speech_ratio: np.ndarray
    candidate_thresholds: np.ndarray | None = None
    baseline_thresholds: np.ndarray | None = None

    def predicted(self) -> np.ndarray:
        """The class that the candidate gives each clip: int64 [clips], -1 for none."""
        return predicted_classes(self.candidate, self.candidate_thresholds)

    def baseline_predicted(self) -> np.ndarray | None:
        """The same of the model in serving; None where there is none."""
        return None if self.baseline is None else predicted_classes(self.baseline, self.baseline_thresholds)


def shard_prefix(uri: str) -> str:
    """How the paths of the shards begin, below the folder `uri` of a ModelEvaluation artifact."""
    return join(uri, FOLDER, CLIPS)


def line(row: Mapping[str, Any]) -> str:
    """A clip's line.

    Args:
        row: `id`, `label`, `mode`, `num_speakers`, `speaker_ids`, `utterance_ids`, `rms_dbfs`, `speech_ratio`, and of each model
            its probabilities and the classes' names (`candidate`, `candidate_classes`, …).
    """
    return json.dumps(row)


def write_models(thresholds: Mapping[str, np.ndarray], uri: str) -> None:
    """Writes the file that belongs to the shards: float [classes] by the model's name, of the baseline where there is one."""
    with create(join(uri, FOLDER, MODELS_FILE)) as file:
        file.write(json.dumps({name: values.tolist() for name, values in thresholds.items()}).encode())


def read_predictions(uri: str) -> Predictions:
    """Reads all shards from the folder of a ModelEvaluation artifact.

    Raises:
        OSError, ValueError, KeyError, TypeError: they are not there or damaged.
    """
    thresholds = json.loads(read_text(join(uri, FOLDER, MODELS_FILE)))
    columns: dict[str, list[Any]] = {name: [] for name in (*_COLUMNS, *thresholds)}
    orders: dict[tuple[str, ...], None] = {}
    for path in _shards(uri):
        with open_file(path) as file:
            for text in file:
                row = json.loads(text)
                for name, values in columns.items():
                    values.append(_compact(row[name]))
                orders[tuple(row[f"{CANDIDATE}_classes"])] = None
    order = sorted(range(len(columns["id"])), key=columns["id"].__getitem__)
    column = {name: [values[k] for k in order] for name, values in columns.items()}
    return Predictions(
        ids=column["id"],
        labels=np.array(column["label"], np.int64),
        candidate=np.array(column[CANDIDATE], np.float32),
        baseline=np.array(column[BASELINE], np.float32) if BASELINE in thresholds else None,
        candidate_classes=list(*orders) or None if len(orders) == 1 else None,
        speaker_ids=column["speaker_ids"],
        utterance_ids=column["utterance_ids"],
        modes=column["mode"],
        num_speakers=np.array(column["num_speakers"], np.int64),
        rms_dbfs=np.array(column["rms_dbfs"], np.float32),
        speech_ratio=np.array(column["speech_ratio"], np.float32),
        **{f"{name}_thresholds": np.array(values, np.float64) for name, values in thresholds.items()},
    )


def _shards(uri: str) -> list[str]:
    paths = [file.path for file in list_files(join(uri, FOLDER)) if file.path.endswith(".jsonl")]
    said = int(paths[0].removesuffix(".jsonl").rpartition("-")[2]) if paths else 1
    if len(paths) != said:
        raise FileNotFoundError(f"{uri}/{FOLDER}: {len(paths)} of {said} shards")
    return paths


_COLUMNS = ("id", "label", "mode", "num_speakers", "speaker_ids", "utterance_ids", "rms_dbfs", "speech_ratio")


def _compact(value: Any) -> Any:
    """The names of speakers and utterances repeat from clip to clip."""
    if not isinstance(value, list):
        return value
    return tuple(map(sys.intern, value)) if value and isinstance(value[0], str) else tuple(value)
