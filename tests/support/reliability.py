"""Collects what the sweeps measured and writes docs/reliability.md from it.

pytest -m sweep --timeout=600      runs the sweeps, each leaves its table in build/reliability
python -m tests.support.reliability        writes docs/reliability.md from those tables
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "build" / "reliability"
DOCUMENT = ROOT / "docs" / "reliability.md"
INTRODUCTION = """# What luxcli was put through

Every table here was written by a test run, on the machine it ran on; none is kept by hand.

```
.venv/bin/pytest -m sweep --timeout=600 -o addopts=   # minutes; results in build/reliability
.venv/bin/python -m tests.support.reliability                 # writes this file from them
```

The ordinary test suite runs a quick part of the same sweeps. `.ci/run` runs each of them with every
eighth case (`SWEEP_SAMPLE=8`).
"""


def sample() -> int:
    """Return n if a sweep runs one of n cases; CI sets SWEEP_SAMPLE=8 for an eighth of them."""
    return int(os.environ.get("SWEEP_SAMPLE", "1"))


def record(
    order: int, title: str, text: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Keep one section: `text` says what was done and what the figures sum up to.

    A sample is not kept: the document is about all cases.
    """
    if sample() > 1:
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    section = {"title": title, "text": text, "columns": list(columns)}
    section["rows"] = [[str(cell) for cell in row] for row in rows]
    name = f"{order:02d}-{title.lower().replace(' ', '-')}.json"
    (RESULTS / name).write_text(json.dumps(section, indent=1), encoding="utf-8")


def main() -> None:
    """Write the document from all sections that are there."""
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
