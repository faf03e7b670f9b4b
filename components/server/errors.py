# SPDX-License-Identifier: Apache-2.0
"""What a request is refused with."""


class RequestError(Exception):
    """One line for a client: what is wrong and what to do; `status` is HTTP's."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
