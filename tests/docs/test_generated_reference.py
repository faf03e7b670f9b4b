# SPDX-License-Identifier: Apache-2.0
"""docs/reference/ says what the models, the command line and the docstrings say now."""

import pytest

from tools.docs.reference import FOLDER, pages

WRITTEN = pages()


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_the_reference_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == WRITTEN[name], f"docs/reference/{name} is stale: run `make docs`"
