# SPDX-License-Identifier: Apache-2.0
"""The floors of silence: what is too quiet for what."""

LEVEL_FLOOR_DBFS = -120.0
"""No level is reported below it: that of digital silence."""
LEVEL_FLOOR_POWER = 1e-12
"""The same, as a mean square of samples."""

QUIETEST_CLIP_DBFS = -90.0
"""One step of 16 bits. A clip whose level is not above it holds nothing to make louder; none is made, and the schema
takes none."""

LOUD_RANGE_DB = 30.0
"""What is further below a recording's reference level is silence: pauses, ends, quiet noise."""

SPEECHLESS_PEAK = 2e-3
"""An utterance that never leaves 0.2 % of full scale (-54 dBFS) holds no speech."""
