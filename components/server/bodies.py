# SPDX-License-Identifier: Apache-2.0
"""JSON requests and answers."""

import json
from typing import Any

from components.server.errors import RequestError


def read_json(body: bytes) -> dict[str, Any]:
    """A request's JSON object.

    Raises:
        RequestError: it is none.
    """
    try:
        value = json.loads(body)
    except RecursionError:
        raise RequestError("the request is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError and numbers of thousands of digits too
        raise RequestError(f"the request is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise RequestError("the request is not a JSON object")
    return value


def write_json(value: Any) -> bytes:
    """An answer; NaN and infinity, which JSON lacks, are a bug here."""
    return json.dumps(value, allow_nan=False).encode()
