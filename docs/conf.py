# SPDX-License-Identifier: Apache-2.0
"""Sphinx's configuration of the documentation site; `make docs` builds it."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "security": "SECURITY.md",
    "benchmarks": "benchmarks/README.md",
}
"""Pages whose text lies where people look for it in a repository; here are only their names."""

project = "audio-gender"
author = "The audio-gender authors"
release = next(line.split('"')[1] for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
extensions = ["myst_parser", "sphinx_copybutton"]
# Pages are plain Markdown, as GitHub shows it.
myst_enable_extensions: list[str] = []
myst_heading_anchors = 4
exclude_patterns = ["build", "*.ipynb"]
html_theme = "furo"
html_title = f"audio-gender {release}"
html_show_copyright = False
html_copy_source = False
copybutton_prompt_text = "$ "
highlight_language = "none"


def read_elsewhere(_: Any, page: str, source: list[str]) -> None:
    """Puts in the texts that lie elsewhere, and makes links to and in them those of the site."""
    if page in ELSEWHERE:
        source[0] = (ROOT / ELSEWHERE[page]).read_text(encoding="utf-8")
    if page == "notebook":
        cells = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]
        texts = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
        source[0] = "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in texts)
    for name, file in ELSEWHERE.items():
        source[0] = re.sub(rf"\]\((?:\.\./)*{re.escape(file)}", f"]({name}.md", source[0])
    if page in ELSEWHERE:
        source[0] = re.sub(r"\]\((?:\.\./)?docs/", "](", source[0])
        source[0] = re.sub(r"\[([^]]+)\]\((?:\.\./)?LICENSE\)", r"\1", source[0])


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("source-read", read_elsewhere)
