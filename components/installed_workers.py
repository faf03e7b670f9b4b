# SPDX-License-Identifier: Apache-2.0
"""Beam's workers have this package and TFX installed: TFX need not send them its own source.

For each Beam executor that has options, TFX copies itself, builds an sdist of that and stages it (build_ephemeral_package in
tfx/utils/dependency_utils.py, TFX 1.21). It costs a second and 45 MB, which stay in the temporary folder. Every Beam executor of
this pipeline imports this module, which turns that off.
"""

from tfx.utils import dependency_utils


def as_they_are(beam_pipeline_args: list[str]) -> list[str]:
    """Beam's options, with no package added."""
    return beam_pipeline_args


dependency_utils.make_beam_dependency_flags = as_they_are
