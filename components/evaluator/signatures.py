# SPDX-License-Identifier: Apache-2.0
"""What a SavedModel must answer to, to be evaluated and served here."""

from typing import Any

import tensorflow as tf

from beam_jobs.errors import UserError

SIGNATURE, PROBABILITIES, CLASSES = "serving_default", "probabilities", "classes"


def check_signature(folder: str, num_classes: int) -> dict[str, Any]:
    """Loads a SavedModel and looks at what its signature for tf.Examples promises.

    Returns:
        Its signatures by name.

    Raises:
        UserError: it cannot be loaded, or it does not promise a probability of each class.
    """
    if not tf.saved_model.contains_saved_model(folder):
        raise UserError(f"{folder}: holds no SavedModel")
    try:
        signatures = dict(tf.saved_model.load(folder).signatures)
    except Exception as error:  # protobuf, TensorFlow and the file system each have errors of their own for a damaged one
        raise UserError(f"{folder}: the SavedModel cannot be loaded ({str(error).splitlines()[0][:200]})") from None
    if SIGNATURE not in signatures:
        raise UserError(f"{folder}: the model has no signature {SIGNATURE}, only {', '.join(sorted(signatures)) or 'none'}")
    output = signatures[SIGNATURE].structured_outputs.get(PROBABILITIES)
    if output is None or output.shape.rank != 2 or output.shape[-1] not in (None, num_classes):
        promised = f"no {PROBABILITIES}" if output is None else f"{PROBABILITIES} of shape {output.shape}"
        raise UserError(f"{folder}: the model's signature {SIGNATURE} gives {promised}, but {num_classes} classes are expected")
    return signatures
