#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the documentation site into build/docs: generated pages, then Sphinx, strictly, then its links. Sphinx has an
# environment of its own, .cache/docs, by tools/docs.lock, so that the product's locks know nothing of it.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
tools=$(bash tools/tool_environment.sh docs)
"$python" -m tools.docs.reference 2>/dev/null
"$python" -m tools.docs.architecture 2>/dev/null
"$tools/bin/python" -m sphinx --fail-on-warning --keep-going --quiet -b html -d build/doctrees docs build/docs
"$tools/bin/python" tools/docs/check_site.py build/docs
echo "docs: open build/docs/index.html"
