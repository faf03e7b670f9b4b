# SPDX-License-Identifier: Apache-2.0
"""The DAG's nodes by name, for what must know them without loading TFX."""

NODES = (
    "ClipGenerator",
    "ClipExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ClipExampleValidator",
    "DataGate",
    "Transform",
    "Tuner",
    "Trainer",
    "ServingBaseline",
    "Evaluator",
    "Robustness",
    "ServingCheck",
    "Gate",
    "ReviewReport",
    "Pusher",
)
"""`ClipGenerator` is on Kubernetes alone, `Tuner` and `Robustness` where the configuration has their sections."""
