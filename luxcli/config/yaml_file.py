"""Reads the configuration file, keeping the line of each setting for messages.

Only `config` imports this, and only where there is a file: loading PyYAML takes a fifth of a poll.
"""

from pathlib import Path
from typing import Final

import yaml

from luxcli.config.sources import GROUP_KEYS, KEYS, Given, Problem, suggest
from luxcli.system import files

# The file may be a pipe, such as `-c <(...)` of a shell.
_PIPE_S: Final = 10.0
# A list has one. PyYAML takes seconds to find out that there are too many.
_MOST_BRACKETS: Final = 1000
_SECTIONS: Final = frozenset(key.split(".")[0] for key in KEYS if "." in key)


def read(file: Path, problems: list[Problem], *, pipe_s: float = _PIPE_S) -> dict[str, Given]:
    """Return the settings in a file; adds each mistake to `problems`.

    Waits `pipe_s` seconds at most for one that is a pipe.
    """
    try:
        text = files.read_small(file, pipe_s=pipe_s)
    except (OSError, UnicodeDecodeError) as exc:
        why = getattr(exc, "strerror", None) or exc
        problems.append(Problem(0, f"{file}: cannot be read: {why}"))
        return {}
    reader = _Reader(file, problems)
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        problems.append(Problem(0, f"{file}: not usable: its lists or mappings are too deep"))
        return {}
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except RecursionError:
        problems.append(Problem(0, f"{file}: not usable: its lists or mappings are too deep"))
        return {}
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        place = f"{file}:{line}" if line else str(file)
        why = " ".join(str(getattr(exc, "problem", None) or exc).split())
        problems.append(Problem(line, f"{place}: not valid YAML: {why}"))
        return {}
    except (ArithmeticError, ValueError) as exc:  # an escape for a character that does not exist
        problems.append(Problem(0, f"{file}: not valid YAML: {exc}"))
        return {}
    if root is not None:
        reader.read_section("", root)
    return reader.found


class _Reader:
    """Collects the settings of one file in `found`, and its mistakes in `problems`."""

    def __init__(self, file: Path, problems: list[Problem]) -> None:
        self.found: dict[str, Given] = {}
        self._file, self._problems = file, problems
        self._base = file.absolute().parent

    def read_section(self, section: str, node: yaml.Node) -> None:
        """Add the settings of one YAML mapping; `section` is "" or like ``csv.``."""
        if not isinstance(node, yaml.MappingNode):
            key = f"{section.rstrip('.')}: " if section else ""
            self._problem(node, f"{key}expected 'key: value' lines")
            return
        for key_node, value_node in node.value:
            key = section + str(key_node.value)
            earlier = [other for other in self.found if _is_same_setting(key, other)]
            if earlier:  # PyYAML alone would silently keep the last one
                origin = self.found[earlier[0]].origin
                self._problem(key_node, f"{key}: already set at {origin}")
            elif key in _SECTIONS and not (key in GROUP_KEYS and _is_scalar(value_node)):
                self.read_section(key + ".", value_node)
            elif key in KEYS or key in GROUP_KEYS:
                self._read_value(key, key_node, value_node)
            else:
                self._problem(key_node, f"{key}: no such setting{suggest(key, KEYS | _SECTIONS)}")

    def _read_value(self, key: str, key_node: yaml.Node, value_node: yaml.Node) -> None:
        try:
            value = _value(value_node)
        except ValueError as exc:
            self._problem(key_node, f"{key}: {exc}")
            return
        if value is None:
            self._problem(key_node, f"{key}: has no value")
        else:
            place, line = self._place(key_node), _line(key_node)
            self.found[key] = Given(value, place, self._base, line)

    def _place(self, node: yaml.Node) -> str:
        return f"{self._file}:{_line(node)}"

    def _problem(self, node: yaml.Node, text: str) -> None:
        self._problems.append(Problem(_line(node), f"{self._place(node)}: {text}"))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_scalar(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _is_same_setting(key: str, other: str) -> bool:
    shorter, longer = sorted((key, other), key=len)
    return longer == shorter or (shorter in GROUP_KEYS and longer.startswith(shorter + "."))


def _value(node: yaml.Node) -> object:
    """Return the value of a node: a text, a list of texts or a mapping of texts; None for null.

    Each setting reads its texts for itself: YAML 1.1 would turn 7:00 into 420, yes into True, and a
    host name like 1e3 into a number. Tags are not followed, so that none can fail.

    Raises:
        ValueError: The node has more levels, which no setting has. Aliases may make them endless.
    """
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_text(item) for item in node.value]
    texts: dict[str, str] = {}
    for key_node, value_node in node.value:
        key = _text(key_node)
        if key in texts:
            raise ValueError("has a key twice")  # unnamed: it may be a secret
        texts[key] = _text(value_node)
    return texts


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("has a list or mapping inside of another")
    return str(node.value)
