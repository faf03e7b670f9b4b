# SPDX-License-Identifier: Apache-2.0
"""What of a request may be kept or left out, by the names of `serve --log-fields`."""

GROUPS = {
    "measures": ("level_dbfs", "clipping", "band_hz"),
    "mel": ("mel",),
    "embedding": ("embedding",),
    "audio": ("audio",),
}
"""Fields of `components.watch.records.Record`; all others are always kept."""
