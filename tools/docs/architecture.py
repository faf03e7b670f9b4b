# SPDX-License-Identifier: Apache-2.0
"""Draws docs/images/artifacts.svg and imports.svg from the code, and writes docs/architecture.md around them.

Artifacts by node are those of the DAG that `pipeline.dag.create_pipeline` makes; imports by package are those that the cache keys
read (`components.code_digest.Project`). `make docs` draws them; tests/docs/test_architecture.py fails where they are stale.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from components.code_digest import Project
from pipeline.config import PipelineConfig
from pipeline.dag import RunContext, create_pipeline

DOCS = Path(__file__).parents[2] / "docs"
ROW, COLUMN, TOP = 24, 22, 150
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.line { stroke: #afb8c1; stroke-width: 1 } .flow { stroke: #0969da; stroke-width: 2 }
.out { fill: #0969da } .in { fill: #fff; stroke: #0969da; stroke-width: 2 } .band { fill: #f6f8fa } .page { fill: #fff }
"""


def pictures() -> dict[str, str]:
    """Every picture by its file name."""
    return {"artifacts.svg": _artifacts(), "imports.svg": _imports()}


def _artifacts() -> str:
    config = PipelineConfig.model_validate(
        {
            "clips": {"num_clips": {"train": 1000, "eval": 100, "test": 100}},
            "tune": {"space": {"model.n_mels": [64, 96]}},
            "robustness": {},
        }
    )
    context = RunContext("", "", "root", "serving", "", corpus_uri="", shared_folder="/training")
    makes: dict[str, str] = {}
    takes: dict[str, set[str]] = defaultdict(set)
    nodes = []
    for node in create_pipeline(config, context).components:
        nodes.append(node.id)
        for name in node.outputs:
            makes[f"{node.id}.{name}"] = node.id
        for channel in node.inputs.values():
            producer = getattr(channel, "producer_component_id", None)
            if producer:
                takes[f"{producer}.{channel.output_key}"].add(node.id)
    order = [key for node in nodes for key, maker in makes.items() if maker == node]
    return _lifelines(
        nodes, {key: ([makes[key]], sorted(takes[key])) for key in order}, "Artifacts by node: ● made by, ○ read by"
    )


def _imports() -> str:
    project = Project()
    uses: dict[str, set[str]] = defaultdict(set)
    for module in project.modules:
        for other in project.imports(module):
            if _package(other) != _package(module):
                uses[_package(other)].add(_package(module))
    packages = sorted({_package(module) for module in project.modules}, key=lambda name: (_layer(name), -len(uses[name]), name))
    rows = list(reversed(packages))
    columns = {name: ([name], sorted(uses[name])) for name in rows if uses[name]}
    return _lifelines(rows, columns, "Imports by package: ● the package of the column, ○ packages that import it")


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2]) if _is_folder(module) else module.split(".")[0]


def _is_folder(module: str) -> bool:
    return "." in module and (DOCS.parent / "/".join(module.split(".")[:2])).is_dir()


def _layer(package: str) -> int:
    return ("beam_jobs", "components", "pipeline").index(package.split(".")[0])


def _lifelines(rows: Sequence[str], columns: Mapping[str, tuple[list[str], list[str]]], title: str) -> str:
    """A line for each column, from the row that makes it to the last that takes it."""
    left = 20 + 7 * max(map(len, rows))
    width, height = left + COLUMN * len(columns) + 110, TOP + ROW * len(rows) + 10
    y = {row: TOP + ROW * index + ROW // 2 for index, row in enumerate(rows)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    parts += [f'<rect class="band" x="0" y="{y[row] - ROW // 2}" width="{width}" height="{ROW}"/>' for row in rows[::2]]
    parts += [f'<text x="{left - 12}" y="{y[row] + 4}" text-anchor="end">{escape(row)}</text>' for row in rows]
    for index, (name, (makers, takers)) in enumerate(columns.items()):
        x = left + COLUMN * index + COLUMN // 2
        ends = [y[row] for row in (*makers, *takers)]
        parts.append(f'<line class="line" x1="{x}" x2="{x}" y1="{TOP}" y2="{height - 10}"/>')
        parts.append(f'<line class="flow" x1="{x}" x2="{x}" y1="{min(ends)}" y2="{max(ends)}"/>')
        parts += [f'<circle class="in" cx="{x}" cy="{y[row]}" r="5"/>' for row in takers]
        parts += [f'<circle class="out" cx="{x}" cy="{y[row]}" r="6"/>' for row in makers]
        shown = name.rsplit(".", 1)[-1]
        if sum(other.endswith(f".{shown}") for other in columns) > 1:
            shown = f"{shown} of {name.split('.')[0]}"
        parts.append(f'<text transform="translate({x + 4} {TOP - 8}) rotate(-50)">{escape(shown)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Draws the pictures."""
    folder = DOCS / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pictures().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
