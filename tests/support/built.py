"""Stores that many tests begin with: made once by each worker, then copied."""

import shutil
from collections.abc import Callable
from pathlib import Path


class Built:
    """Directories by how they are made.

    Args:
        directory: Holds the first of each kind, which no test changes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kept: dict[tuple[object, ...], Path] = {}

    def __call__(self, build: Callable[..., object], directory: Path, **options: object) -> None:
        """Let `directory` have what ``build(directory, **options)`` puts into an empty one.

        What is stored must not depend on the path of the directory.
        """
        key = (build.__module__, build.__qualname__, repr(sorted(options.items())))
        if key not in self._kept:
            kept = self._directory / str(len(self._kept))
            kept.mkdir()
            build(kept, **options)
            self._kept[key] = kept
        shutil.copytree(self._kept[key], directory, dirs_exist_ok=True)
