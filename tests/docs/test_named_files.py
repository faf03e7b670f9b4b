# SPDX-License-Identifier: Apache-2.0
"""Files of this repository that the pages name are there, and so are the configuration keys."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("docs/reference/*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
]
NAMED = re.compile(r"`((?:pipeline|components|beam_jobs|tests|tools|k8s|benchmarks|locks|docs)/[\w./*-]*)`")
KEY = re.compile(r"`((?:clips|data|train|tune|gate|serving_check|push|kubernetes)\.(?!csv`|json`|yaml`)[a-z_]+)`")
NOT_FILES_HERE = ("beam_jobs/corpus/timit.py", "components/split_size/", "pipeline/runid")
"""What CONTRIBUTING.md tells the reader to write, and a label of Kubeflow's pods."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_are_there(page: Path) -> None:
    named = set(NAMED.findall(page.read_text(encoding="utf-8")))

    missing = [name for name in sorted(named) if not name.startswith(NOT_FILES_HERE) and not any(ROOT.glob(name.rstrip("/")))]

    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_keys_are_there(page: Path) -> None:
    reference = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    named = set(KEY.findall(page.read_text(encoding="utf-8")))

    assert not [key for key in sorted(named) if f"| `{key}` |" not in reference]
