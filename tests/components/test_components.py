# SPDX-License-Identifier: Apache-2.0
"""The contract that every component keeps by its declaration; `test_component_runs.py` has what it does when it runs.

A new `components/*/component.py` is held to both without being listed.
"""

import importlib
import inspect
import re

import pytest
from component_contract import MODULES, component_of, executor_of
from tfx.types.component_spec import ComponentSpec


@pytest.mark.parametrize("module", MODULES)
def test_components_take_keywords_only(module):
    kinds = {parameter.kind for parameter in inspect.signature(component_of(module)).parameters.values()}

    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("module", MODULES)
def test_the_executor_is_found_by_its_dotted_path(module):
    """As Kubeflow's container and the local runner import it: by name, and no class that somebody made on the way."""
    executor = executor_of(module)
    found = importlib.import_module(executor.__module__)

    assert executor.__module__ == module.replace(".component", ".executor")
    assert getattr(found, executor.__qualname__) is executor


@pytest.mark.parametrize("module", MODULES)
def test_what_goes_in_and_out_is_documented(module):
    component = component_of(module)
    spec: type[ComponentSpec] = component.SPEC_CLASS
    text = inspect.getdoc(component) or ""
    arguments = set(inspect.signature(component).parameters)
    documented = set(re.findall(r"^    (\w+): ", text, re.MULTILINE))

    if spec.__module__.startswith("components."):
        assert arguments | set(spec.OUTPUTS) == documented
        assert not text.count("Outputs:") or spec.OUTPUTS
