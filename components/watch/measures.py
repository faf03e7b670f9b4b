# SPDX-License-Identifier: Apache-2.0
"""The measures whose drift is watched, by name, of a record."""

from collections.abc import Sequence

import numpy as np

from components.watch.records import Record

MEL_GROUPS = 8
"""Neighbouring mel bands move together: so few numbers say what 64 do, and each test more makes all others blunter."""
LABEL = "label"


def values_of(record: Record) -> dict[str, float | str]:
    """The measures of a record with speech; those that were not kept are left out."""
    found: dict[str, float | str] = {
        LABEL: record.label,
        "duration_s": record.duration_s,
        "speech": record.speech,
        "confidence": confidence(record),
    }
    if record.band_hz:
        # Shares spread over orders of magnitude.
        clipping = float(np.log10(max(record.clipping, 1e-6)))
        found |= {"level_dbfs": record.level_dbfs, "clipping": clipping, "band_hz": record.band_hz}
    if len(record.mel):
        groups = [float(group.mean()) for group in np.array_split(record.mel - record.mel.mean(), MEL_GROUPS)]
        found |= {f"mel {number}": value for number, value in enumerate(groups, start=1)}
    return found


def confidence(record: Record) -> float:
    """The probability of the label that was given."""
    return float(record.probabilities[record.classes.index(record.label)])


def common_names(records: Sequence[Record], others: Sequence[Record]) -> list[str]:
    """The measures that all of both have."""
    names = [set(values_of(record)) for record in [*records, *others]]
    return [name for name in values_of(records[0]) if all(name in found for found in names)]
