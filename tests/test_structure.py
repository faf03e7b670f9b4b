# SPDX-License-Identifier: Apache-2.0
"""How the packages hang together: their imports, as their sources say them."""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from components.code_digest import ROOT, Project
from tools import spdx

MAY_IMPORT = {
    "beam_jobs": {"beam_jobs"},
    "components": {"beam_jobs", "components"},
    "pipeline": {"beam_jobs", "components", "pipeline"},
}
"""By package; `benchmarks` and `tests` import them and nothing imports those."""


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports of the others, without the packages that it lies in, or that another merely lies in.

    A package may hand out what its modules hold (`components.inference`): it is being imported when they are.
    """
    project = Project(ROOT)
    packages = {name for name, path in project.modules.items() if path.name == "__init__.py" and not path.read_text().strip()}
    return {
        module: {name for name in project.imports(module) - packages if not f"{module}.".startswith(f"{name}.")}
        for module in project.modules
    }


def test_there_is_no_circle_of_imports(imports):
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_imports_point_from_pipeline_to_components_to_beam_jobs(imports):
    backwards = [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in others
        if other.split(".")[0] not in MAY_IMPORT[module.split(".")[0]]
    ]
    assert backwards == []


def test_every_module_is_seen(imports):
    assert "components.trainer.workers.kubernetes.launch" in imports["components.trainer.workers.launch"]  # inside a function
    assert "components.gate.decide" in imports["components.gate.executor"]
    assert len(imports) > 100


def test_imports_are_absolute_as_the_cache_keys_read_them():
    relative = [
        f"{path}:{node.lineno}"
        for path in Project(ROOT).modules.values()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_the_documented_layout_has_every_folder():
    page = (ROOT / "docs/development.md").read_text(encoding="utf-8")
    folders = {path.parent.relative_to(ROOT).as_posix() for path in Project(ROOT).modules.values()}
    # Folders of the Trainer are named below it.
    missing = [name for name in folders if f"{'/'.join(name.split('/')[2:] or [name])}/`" not in page]
    assert missing == []


def test_every_source_file_names_its_license():
    lacking = [str(path.relative_to(ROOT)) for path in spdx.sources() if spdx.lacks_line(path)]
    assert lacking == [], "run `python tools/spdx.py`"
    assert len(spdx.sources()) > 400
