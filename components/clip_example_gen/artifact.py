"""What ClipExampleGen says on its artifacts, for the nodes behind it, and the type of its reference to the clips."""

from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.types import Artifact

DATASET_URI = "dataset_uri"
"""Custom property, the dataset folder."""
DATASET_FINGERPRINT = "dataset_fingerprint"
"""Custom property, `beam_jobs.dataset.fingerprint` of the dataset; also of the Model that was trained on it."""


class Clips(Artifact):
    """A folder with `clips.json` (`beam_jobs.clip_store.ClipsReference`): the audio stays where the dataset lies."""

    TYPE_NAME = "audio_gender.Clips"


def register() -> None:
    """Makes TFX's entrypoint on Kubeflow find `Clips`; to be called there before it reads its arguments."""
    compiler_utils.TITLE_TO_CLASS_PATH[Clips.TYPE_NAME] = f"{Clips.__module__}.{Clips.__qualname__}"
