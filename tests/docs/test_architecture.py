# SPDX-License-Identifier: Apache-2.0
"""The pictures of the architecture show the code as it is."""

import pytest

from tools.docs.architecture import DOCS, pictures

DRAWN = pictures()


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_the_picture_is_up_to_date(name: str) -> None:
    assert (DOCS / "images" / name).read_text(encoding="utf-8") == DRAWN[name], f"docs/images/{name} is stale: run `make docs`"


def test_every_node_and_its_artifacts_are_shown() -> None:
    from pipeline.nodes import NODES

    assert all(f">{node}<" in DRAWN["artifacts.svg"] for node in NODES)
    assert ">blessing of Gate<" in DRAWN["artifacts.svg"] and ">components.gate<" in DRAWN["imports.svg"]
