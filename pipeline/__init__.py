# SPDX-License-Identifier: Apache-2.0
"""What runs: the command line, the DAG, and its runners."""

import components  # noqa: F401 (prepares the process, and TensorFlow for tf-keras, before any library is imported)
