"""Writes docs/validation.md from the rules: python -m tests.support.rulebook"""

from pathlib import Path

from luxcli.registers.structure import CONTRADICTIONS, FEWEST
from luxcli.validation.report import COST
from luxcli.validation.rules import AREAS, RULES, SEVERITIES

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "validation.md"


INTRODUCTION = """# What `luxcli validate` looks at

`python -m tests.support.rulebook` writes this page from the rules; do not edit it by hand.

A **problem** means that data is wrong or missing. A **warning** means that somebody should look. A
**note** is good to know. The verdict is the worst of them; notes do not count. Each kind of data
begins with 100 points. A problem takes {problem[0]:g} points, and up to {problem[1]:g} more the
more polls it concerns; a warning takes {warning[0]:g} points, and up to {warning[1]:g} more. The
score of the recording is never higher than the percentage of the polls that are stored.

A sensor that is not fitted shows a constant: -50.0, 5.0, 75.0, 150.0 or 0.0 °C, depending on the
sensor ([registers.md](registers.md#values-that-mean-no-value)). This constant is no finding as long
as the sensor shows nothing else; such sensors are listed.

The rules only flag. An answer is not stored if it has fewer than {calculations} calculations,
{parameters} parameters or {visibilities} visibilities, or if it contradicts itself in
{contradictions} ways at once (`luxcli/registers/structure.py`), or the last poll
(`luxcli/registers/continuity.py`), as when a block has lost a value or ends with zeros. An answer
with a single strange value, such as a stopped clock or an unknown model, is stored and marked as
suspicious ([registers.md](registers.md#the-gate)).

The tests plant at least one fault for every rule into good data and check that the rule finds it;
[reliability.md](reliability.md) has the outcome. [commands.md](commands.md#validate) describes the
command.
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
