# SPDX-License-Identifier: Apache-2.0
"""Adds the SPDX license line to source files that lack it: `python tools/spdx.py` (`--check` only lists them, exit status 1)."""

import subprocess
import sys
from pathlib import Path

LINE = "SPDX-License-Identifier: Apache-2.0"
ROOT = Path(__file__).parents[1]
ENDINGS = (".py", ".sh", ".go")
OTHERS = (".ci/run", "Makefile", "k8s/image/Dockerfile")


def sources(root: Path = ROOT) -> list[Path]:
    """Every source file that git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, check=True
    )
    names = sorted({name for name in listed.stdout.decode().split("\0") if name.endswith(ENDINGS) or name in OTHERS})
    return [root / name for name in names if (root / name).is_file() and (root / name).stat().st_size]


def lacks_line(path: Path) -> bool:
    """Whether none of the first lines is the license line."""
    return not any(LINE in line for line in path.read_text(encoding="utf-8").splitlines()[:3])


def add_line(path: Path) -> None:
    """Puts the line at the top, behind `#!` and a Dockerfile's `# syntax`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    place = 1 if lines[0].startswith(("#!", "# syntax")) else 0
    mark = "//" if path.suffix == ".go" else "#"
    lines.insert(place, f"{mark} {LINE}\n")
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    lacking = [path for path in sources() if lacks_line(path)]
    if "--check" in sys.argv:
        print("\n".join(f"{path.relative_to(ROOT)}: no {LINE}" for path in lacking))
        sys.exit(bool(lacking))
    for path in lacking:
        add_line(path)
