"""The Trainer's user code: front end, network, data, training and serving signatures."""

import os

# Keras 3's `fit` fails under MultiWorkerMirroredStrategy (keras-team/keras#20585), and kapre follows `tf.keras`. TensorFlow
# reads the variable when `tf.keras` is first touched, so it must be set before any module of this package imports it.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
