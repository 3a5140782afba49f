"""Writes docs/validation.md from the rules: python -m tests.support.rulebook"""

from pathlib import Path

from luxcli.registers.structure import CONTRADICTIONS, FEWEST
from luxcli.validation.report import COST
from luxcli.validation.rules import AREAS, RULES, SEVERITIES

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "validation.md"


INTRODUCTION = """# What `luxcli validate` looks at

Written from the rules themselves by `python -m tests.support.rulebook`; not kept by hand.

A **problem** means that data is wrong or missing, a **warning** that somebody should look, a
**note** that it is good to know. The verdict is the worst of them; notes do not count. Each kind of
data begins with 100 points. A problem takes {problem[0]:g} of them, and up to {problem[1]:g}
more the more polls it concerns; a warning takes {warning[0]:g} and up to {warning[1]:g} more. The
score of the recording is never higher than the percentage of polls that are there.

What a sensor shows that is not fitted (-50.0, 5.0, 75.0, 150.0 or 0.0 °C, which one depends on the
sensor) is no finding as long as it shows nothing else; such sensors are listed.

The rules only flag. Not even stored is an answer with fewer than {calculations} calculations,
{parameters} parameters or {visibilities} visibilities, or one that contradicts itself in
{contradictions} ways at once (`luxcli/quality.py`). One odd value alone, such as a dead clock or a
model that nobody knew, is stored.

Every rule has at least one fault that is planted into good data to see whether the rule finds it
(`tests/planted.py`, `tests/csvfaults.py`); the outcome is in `reliability.md`.
"""


def text() -> str:
    """Return the whole document."""
    parts = [INTRODUCTION.format(**COST, **FEWEST, contradictions=CONTRADICTIONS)]
    for area, name in AREAS.items():
        rules = [rule for rule in RULES.values() if rule.area == area]
        rules.sort(key=lambda rule: SEVERITIES.index(rule.severity))
        parts.append(f"\n## {name.capitalize()}\n\n| rule | severity | expects |\n|---|---|---|\n")
        parts += [f"| `{rule.id}` | {rule.severity} | {rule.expects} |\n" for rule in rules]
    return "".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(text(), encoding="utf-8")
