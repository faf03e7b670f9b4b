# SPDX-License-Identifier: Apache-2.0
"""From what the signature `measured` gives to fields of a `Record`."""

from collections.abc import Iterator, Mapping
from typing import Any

SIGNATURE = "measured"


def measured_answers(answers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The fields of a `Record` that the signature `measured` gives, for each of its rows."""
    values = {name: value.numpy() if hasattr(value, "numpy") else value for name, value in answers.items()}
    for row in range(len(values["speech"])):
        yield {
            "duration_s": float(values["duration_s"][row]),
            "speech": float(values["speech"][row]),
            "error": values["error"][row].decode(),
            "label": values["label"][row].decode(),
            "classes": tuple(name.decode() for name in values["classes"][row]),
            "probabilities": values["probabilities"][row],
            "level_dbfs": float(values["level_dbfs"][row]),
            "clipping": float(values["clipping"][row]),
            "band_hz": float(values["band_hz"][row]),
            "mel": values["mel"][row],
            "embedding": values["embedding"][row],
        }
