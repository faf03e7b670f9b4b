"""The Transform component's user code."""

import os

# As in components.trainer: whichever is imported first decides which Keras the process gets.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
