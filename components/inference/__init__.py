# SPDX-License-Identifier: Apache-2.0
"""A model in use: what the command line, the server and the Beam job ask.

>>> from components.inference import load_model
>>> model = load_model("work/serving")
>>> model.predict("voice.flac")
Prediction(label='...', probabilities={'male': ..., 'female': ...}, speech=..., duration_s=2.0, error='')
"""

from beam_jobs.labels import NO_SPEECH, UNCERTAIN
from components.inference.answers import Prediction, Segment, Timeline, Total
from components.inference.live import Moment, listen
from components.inference.model import Model, load_model

__all__ = ["NO_SPEECH", "UNCERTAIN", "Model", "Moment", "Prediction", "Segment", "Timeline", "Total", "listen", "load_model"]
