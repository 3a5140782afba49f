r"""Reads plain YAML, as configurations usually are, without PyYAML, which takes as long as a poll.

Plain are comments, ``key: value`` lines and blocks of such lines under a ``key:``, the values
words, numbers, paths or addresses, or quoted texts without a backslash. Each value is the text that
PyYAML has for it. Of everything else this says nothing, so that PyYAML alone decides what is right.
No regular expressions: compiling them took longer than what they were for.
"""

from typing import Final, NamedTuple

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz"
_KEY: Final = frozenset(_ALPHABET + "_")
# Of a value without quotes: none of YAML's marks where they would mean something.
_FIRST: Final = frozenset(_ALPHABET + _ALPHABET.upper() + "0123456789/_.")
_WORD: Final = _FIRST | frozenset(":@%+,=~?&*-")
# What a word may not be, since YAML takes it for nothing; any other is the text it is.
_NOTHING: Final = frozenset({"null", "Null", "NULL"})


class Entry(NamedTuple):
    """One setting: its dotted key, the text of its value and the number of its line."""

    key: str
    value: str
    line: int


def entries(text: str) -> list[Entry] | None:
    """Return what a document says, None unless all of it is plain and no key comes twice."""
    try:
        return _entries(text)
    except _NotPlainError:
        return None


class _NotPlainError(Exception):
    pass


def _require(plain: bool) -> None:
    if not plain:
        raise _NotPlainError


def _entries(text: str) -> list[Entry]:
    found: list[Entry] = []
    seen: set[str] = set()
    block, indent = "", 0  # the key of the block that lines belong to, and how far it is indented
    for number, line in enumerate(text.split("\n"), 1):
        _require(not line or line.isprintable())
        content = line.lstrip(" ")
        if not content or content[0] == "#":
            continue
        key, colon, rest = content.partition(":")
        _require(colon == ":" and _KEY.issuperset(key) and key[:1] not in ("", "_"))
        spaces = len(line) - len(content)
        if block and not indent:
            indent = spaces
            _require(indent > 0)  # a key with neither a value nor a block is null
        elif not spaces:
            block, indent = "", 0
        _require(spaces == indent)
        name = f"{block}.{key}" if block else key
        _require(name not in seen)
        seen.add(name)
        value = _value(rest)
        if value is not None:
            found.append(Entry(name, value, number))
        else:
            _require(not block)
            block = key
    _require(not block or indent > 0)
    return found


def _value(rest: str) -> str | None:
    """Return the value in what follows a key's colon, None if there is but a comment."""
    text = rest.lstrip(" ")
    _require(rest == "" or rest[0] == " ")
    if not text or text[0] == "#":
        return None
    if text[0] in "'\"":
        value, closing, after = text[1:].partition(text[0])
        _require(closing != "" and (text[0] == "'" or "\\" not in value))
    else:
        value, blank, after = text.partition(" ")
        _require(value[0] in _FIRST and _WORD.issuperset(value) and value[-1] != ":")
        _require(value not in _NOTHING)
        after = blank + after
    _require(after == "" or (after[0] == " " and after.lstrip(" ")[:1] in ("", "#")))
    return value
