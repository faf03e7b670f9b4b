# SPDX-License-Identifier: Apache-2.0
"""Every component of this project, found by its file."""

import importlib
import inspect
from typing import Any

from tfx.dsl.components.base.base_component import BaseComponent

from components.code_digest import ROOT

MODULES = sorted(f"components.{path.parent.name}.component" for path in ROOT.glob("components/*/component.py"))


def component_of(module: str) -> type[BaseComponent]:
    """The one component of a module."""
    members = vars(importlib.import_module(module)).values()
    (component,) = (
        cls for cls in members if inspect.isclass(cls) and issubclass(cls, BaseComponent) and cls.__module__ == module
    )
    return component


def executor_of(module: str) -> Any:
    """The class that does the work."""
    return component_of(module).EXECUTOR_SPEC.executor_class
