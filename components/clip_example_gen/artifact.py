# SPDX-License-Identifier: Apache-2.0
"""What ClipExampleGen says on its Examples, for the nodes behind it."""

DATASET_FINGERPRINT = "dataset_fingerprint"
"""Custom property, `beam_jobs.dataset.fingerprint` of the dataset; also of the Model that was trained on it."""
