"""The tier of a parametrised test's members: a few run by default, the others with `-m slow`."""

from collections.abc import Collection, Mapping

import pytest


def sampled(members: Mapping[str, object], default: Collection[str]) -> list[object]:
    """Return the members as parameters with their names as ids; all but the default ones are slow.

    Raises:
        ValueError: A default one is no member.
    """
    if unknown := set(default) - set(members):
        raise ValueError(f"no such members: {sorted(unknown)}")
    return [
        pytest.param(member, id=name, marks=() if name in default else pytest.mark.slow)
        for name, member in members.items()
    ]
