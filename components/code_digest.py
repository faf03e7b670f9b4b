# SPDX-License-Identifier: Apache-2.0
"""The code that decides what a node makes, as a digest for its cache key.

TFX's cache and Kubeflow's know a node by its inputs and properties, and look into no code. `add_code_digests` gives every node
the property `code`: a digest of exactly the files that its output depends on, known by their names in the project and not by
where it lies. From the executor's module and the functions that other properties name (`run_fn`, `preprocessing_fn`, `tuner_fn`)
on, these are

- each module of this project that such a module imports, at its top or inside a function;
- a module whose name stands in it as a string, such as that of a process which it starts;
- a file, or a folder of files that are no modules, which lies beside it and whose name stands in it as a string, such as a folder
  of templates.

Left out is what `WITHOUT_EFFECT` lists: it tells people what goes on, carries work to where it is done, or reads settings, whose
values are properties themselves; with other code there the same comes out. An executor of TFX's counts with its own file.
Libraries do not count otherwise.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode

CODE = "code"
"""The property's name."""
ROOT = Path(__file__).parents[1]
PACKAGES = ("beam_jobs", "components", "pipeline")

WITHOUT_EFFECT = (
    "beam_jobs.config",
    "beam_jobs.console",
    "beam_jobs.errors",
    "components.staging",
    "components.trainer.monitoring",
    "components.trainer.workers.kubernetes",
)
"""Modules, and packages with all in them."""


def add_code_digests(nodes: Iterable[BaseNode], root: Path = ROOT) -> None:
    """Sets the property `code` of each node to the digest of its code, read below `root`."""
    project = Project(root)
    for node in nodes:
        if isinstance(node, BaseComponent):
            executor = node.EXECUTOR_SPEC.executor_class.__module__
            named = (project.named(value) for value in node.exec_properties.values() if isinstance(value, str))
            node.spec.exec_properties[CODE] = project.digest(executor, *filter(None, named))


class Project:
    """The sources of this project below a folder, and what each of its modules needs."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root

    def digest(self, *roots: str) -> str:
        """SHA-256 over the code that the modules `roots` need, themselves included; they may be of a library."""
        files: dict[str, Path] = {}
        for root in roots:
            if root in self.modules:
                paths = (path for module in self.needs(root) for path in (self.modules[module], *self._files(module)))
                files |= {path.relative_to(self._root).as_posix(): path for path in paths}
            else:
                spec = importlib.util.find_spec(root)
                assert spec is not None and spec.origin is not None, root
                files[root] = Path(spec.origin)
        contents = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {name}\n" for name, path in sorted(files.items())]
        return hashlib.sha256("".join(contents).encode()).hexdigest()

    def needs(self, module: str) -> set[str]:
        """The modules of this project that a module needs, itself included, without those that have no effect."""
        found, ahead = set(), [module]
        while ahead:
            name = ahead.pop()
            if name not in found and not _has_no_effect(name):
                found.add(name)
                ahead += self.imports(name) | {named for text in self._strings(name) if (named := self.named(text))}
        return found

    def imports(self, module: str) -> set[str]:
        """The modules of this project that a module imports, with the packages that they lie in."""
        names = set(_imported(self._tree(module)))
        parents = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
        return (names | parents) & self.modules.keys()

    def named(self, text: str) -> str | None:
        """The module that a dotted name stands for, or that holds the thing which it stands for; None where there is none."""
        return next((name for name in (text, text.rpartition(".")[0]) if "." in name and name in self.modules), None)

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Every module of this project by its dotted name."""
        paths = (path for package in PACKAGES for path in (self._root / package).rglob("*.py"))
        return {".".join(path.relative_to(self._root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}

    def _tree(self, module: str) -> ast.Module:
        return _parsed(self.modules[module].read_bytes())

    def _strings(self, module: str) -> set[str]:
        constants = (node.value for node in ast.walk(self._tree(module)) if isinstance(node, ast.Constant))
        return {value for value in constants if isinstance(value, str)}

    def _files(self, module: str) -> Iterator[Path]:
        folder = self.modules[module].parent
        beside = {path.name: path for path in folder.iterdir()}
        for name in self._strings(module) & beside.keys():
            path = beside[name]
            if path.is_file():
                yield path
            elif not (path / "__init__.py").exists():
                yield from (file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc")


@lru_cache(maxsize=1024)
def _parsed(source: bytes) -> ast.Module:
    return ast.parse(source)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _has_no_effect(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in WITHOUT_EFFECT)
