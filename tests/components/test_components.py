"""How components are called."""

import importlib
import inspect

import pytest
from tfx.dsl.components.base.base_component import BaseComponent

from components.code_digest import ROOT

MODULES = sorted(f"components.{path.parent.name}.component" for path in ROOT.glob("components/*/component.py"))


@pytest.mark.parametrize("module", MODULES)
def test_components_take_keywords_only(module):
    members = vars(importlib.import_module(module)).values()
    (component,) = (
        cls for cls in members if inspect.isclass(cls) and issubclass(cls, BaseComponent) and cls.__module__ == module
    )

    kinds = {parameter.kind for parameter in inspect.signature(component).parameters.values()}

    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
