# SPDX-License-Identifier: Apache-2.0
"""The overlays of `k8s/`, by name."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "overlays"
OVERLAYS = ("kserve", "local", "production")
