"""What the pipeline itself computed for the clips that the serving check asks about."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def expected_predictions(model: str, records: Sequence[bytes]) -> np.ndarray:
    """Probabilities by the exported model, loaded in this process: float32 [clips, classes]."""
    serve = tf.saved_model.load(model).signatures["serving_default"]
    probabilities: np.ndarray = serve(tf.constant(list(records)))["probabilities"].numpy()
    return probabilities
