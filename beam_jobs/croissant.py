# SPDX-License-Identifier: Apache-2.0
"""A dataset folder described in Croissant (MLCommons' JSON-LD for machine-learning datasets), by `mlcroissant`.

Croissant reads no TFRecords: what describes each clip is read from `clips.csv`, and the shards stand beside it with their
checksums.
"""

import hashlib
import json

from beam_jobs.config import SPLITS
from beam_jobs.dataset import CLIPS_FILE, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.files import join, open_file

BLOCK = 1 << 20

COLUMNS = {
    "id": ("TEXT", "The clip's id, unique in the dataset."),
    "split": ("TEXT", "train, eval or test; nobody is heard in two of them."),
    "label": ("TEXT", "The class of the clip, by the corpus's annotation of those who are heard."),
    "mode": ("TEXT", "Whether its utterances sound all at once or one after the other."),
    "shard": ("TEXT", "The TFRecord file that holds the clip."),
    "speech_ratio": ("FLOAT", "Share of the clip in which somebody speaks, from 0 to 1."),
    "rms_dbfs": ("FLOAT", "Level of the clip, in dB below full scale."),
    "sample_rate_hz": ("INTEGER", "Samples a second."),
    "speaker_ids": ("TEXT", "Who is heard, by the corpus's ids, separated by spaces."),
    "utterance_ids": ("TEXT", "The recordings that the clip is made of, separated by spaces."),
}


def describe(folder: str) -> str:
    """The description, as JSON-LD text; it belongs into the folder, whose files it names.

    Args:
        folder: of a dataset, local or in an object store.

    Raises:
        UserError: it is no dataset, or mlcroissant is not installed.
    """
    try:
        import mlcroissant as mlc
    except ImportError:
        raise UserError(
            "mlcroissant is not installed: `make setup EXTRAS=croissant`, or croissant.lock beside the wheel"
        ) from None
    info = read_dataset_info(folder)
    digest = hashlib.sha256()
    with open_file(join(folder, CLIPS_FILE)) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    clips = info.clips
    counts = {split: sum(info.counts.get(split, {}).values()) for split in SPLITS}
    table = mlc.FileObject(
        id="clips.csv",
        name="clips.csv",
        description="One line for each clip, in the order of the shards.",
        content_url=CLIPS_FILE,
        encoding_formats=["text/csv"],
        sha256=digest.hexdigest(),
    )
    shards = [
        mlc.FileObject(
            id=shard.file,
            name=shard.file,
            description=f"{shard.num_records} clips as tf.Examples.",
            content_url=shard.file,
            content_size=f"{shard.num_bytes} B",
            encoding_formats=["application/x-tfrecord"],
            sha256=shard.sha256,
        )
        for shard in info.shards
    ]
    fields = [
        mlc.Field(
            id=f"clips/{column}",
            name=column,
            description=text,
            data_types=[getattr(mlc.DataType, kind)],
            source=mlc.Source(file_object="clips.csv", extract=mlc.Extract(column=column)),
        )
        for column, (kind, text) in COLUMNS.items()
    ]
    metadata = mlc.Metadata(
        name="audio-clips",
        description=(
            f"{counts['train']} clips to train on, {counts['eval']} to choose by and {counts['test']} to test with: "
            f"{clips.duration_s:g} s of 16-bit mono at {clips.sample_rate_hz} Hz, labelled {', '.join(info.classes)}, mixed from "
            f"a corpus with the fingerprint {info.corpus_fingerprint}."
        ),
        conforms_to=["http://mlcommons.org/croissant/1.0"],
        version="1.0.0",
        distribution=[table, *shards],
        record_sets=[
            mlc.RecordSet(
                id="clips", name="clips", description="The clips and what is known about each.", key=["clips/id"], fields=fields
            )
        ],
    )
    return json.dumps(metadata.to_json(), indent=1, ensure_ascii=False, default=str)
