"""Each rule has exactly one check, which names it beside its code."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import luxcli.validation
from luxcli.validation.rules import RULES

ROOM = Path(luxcli.validation.__file__).parent
# These name rules to sort findings, not to make them.
NOT_CHECKS = {"rules", "findings"}


def checks(tree: ast.Module) -> Iterator[tuple[ast.Assign | ast.AnnAssign, list[str]]]:
    """Yield the declaration ``rules = (...)`` of each class, and the ids in it."""
    for node in ast.walk(tree):
        for entry in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(entry, ast.Assign | ast.AnnAssign):
                targets = entry.targets if isinstance(entry, ast.Assign) else [entry.target]
                if [ast.unparse(target) for target in targets] == ["rules"]:
                    yield entry, texts(entry)


def texts(node: ast.AST) -> list[str]:
    return [
        one.value
        for one in ast.walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]


def modules() -> dict[str, ast.Module]:
    return {
        path.stem: ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOM.glob("*.py"))
        if path.stem not in NOT_CHECKS
    }


def test_each_rule_has_exactly_one_check_and_no_check_names_an_unknown_rule():
    declared = Counter(
        rule for tree in modules().values() for _, ids in checks(tree) for rule in ids
    )
    assert declared == dict.fromkeys(RULES, 1)


def test_the_code_of_a_rule_stands_in_the_module_of_its_check():
    for name, tree in modules().items():
        declared = [rule for _, ids in checks(tree) for rule in ids]
        written = Counter(text for text in texts(tree) if text in RULES)
        for rule in declared:
            assert written[rule] > 1, f"{name} declares {rule} and does not report it"
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("add", "_report")):
                reported = {text for text in texts(call.args[0]) if text in RULES}
                assert reported <= set(declared), f"{name} reports {reported}"
