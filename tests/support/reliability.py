"""Collects the results of the sweeps and writes docs/reliability.md from them.

pytest -m sweep --timeout=600          runs the sweeps; each writes a table to build/reliability
python -m tests.support.reliability    writes docs/reliability.md from these tables
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "build" / "reliability"
DOCUMENT = ROOT / "docs" / "reliability.md"
INTRODUCTION = """# How luxcli was tested under faults

Sweeps are tests that try every case of a kind. They wrote all tables on this page.

```
.venv/bin/pytest -m sweep --timeout=600 -o addopts=   # takes minutes; results in build/reliability
.venv/bin/python -m tests.support.reliability         # writes this page from the results
```

The default tests run a few cases of each sweep, and `.ci/run` runs every eighth case
(`SWEEP_SAMPLE=8`).
"""


def sample(*, costly: bool = False) -> int:
    """Return n if a sweep runs one of n cases; CI sets SWEEP_SAMPLE=8 for an eighth of them.

    Of `costly` cases, which take seconds each, a sample has a fifth of that.
    """
    every = int(os.environ.get("SWEEP_SAMPLE", "1"))
    return 5 * every + 1 if costly and every > 1 else every


def record(
    order: int, title: str, text: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Write one section of the document to build/reliability, unless only a sample was tried.

    Args:
        order: Position of the section.
        title: Heading.
        text: What was done, and the sums of the figures.
        columns: Head of the table; empty for a section without a table.
        rows: Lines of the table.
    """
    if sample() > 1:
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    section = {"title": title, "text": text, "columns": list(columns)}
    section["rows"] = [[str(cell) for cell in row] for row in rows]
    name = f"{order:02d}-{title.lower().replace(' ', '-')}.json"
    (RESULTS / name).write_text(json.dumps(section, indent=1), encoding="utf-8")


def main() -> None:
    """Write the document from all sections in build/reliability."""
    parts = [INTRODUCTION]
    for path in sorted(RESULTS.glob("*.json")):
        section = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"\n## {section['title']}\n\n{section['text']}\n")
        if section["rows"]:
            parts.append("\n| " + " | ".join(section["columns"]) + " |\n")
            parts.append("|" + "---|" * len(section["columns"]) + "\n")
            for row in section["rows"]:
                cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
                parts.append("| " + " | ".join(cells) + " |\n")
    DOCUMENT.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
