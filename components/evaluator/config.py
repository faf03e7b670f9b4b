"""The gate's thresholds."""

from beam_jobs.config import Share, Strict


class GateConfig(Strict):
    """A model is pushed only where all of these hold on the test split."""

    min_accuracy: Share = 0.95
    min_slice_accuracy: Share = 0.85
    """On every value of every sliced feature."""
    min_auc: Share = 0.95
    """Of every class."""
    max_accuracy_loss: Share = 0.0
    """How much lower accuracy may be than that of the model now in serving."""
