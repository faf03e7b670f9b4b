# SPDX-License-Identifier: Apache-2.0
"""TFX components and the code that they run."""

import atexit
import gc
import os

import beam_jobs  # noqa: F401 (prepares the process before any library is imported)

# Keras 3's fit fails under MultiWorkerMirroredStrategy (keras-team/keras#20585) and kapre follows tensorflow.keras, so all of
# TensorFlow here is on tf-keras. The variable counts only if it is set before tf.keras is first touched.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

# Else the last collection of garbage may free protobuf's containers after protobuf itself, and a process whose work is done
# dies of SIGSEGV: protocolbuffers/protobuf#22067 and #29806, both open.
atexit.register(gc.freeze)
