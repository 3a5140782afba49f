"""Configuration files that nobody meant well: read in bounded time and memory, one clear line."""

import os
import resource
import threading
import time
from pathlib import Path

import pytest

from luxcli.config import config, yaml_file
from luxcli.errors import ConfigError
from luxcli.system.files import SMALL_BYTES

N = SMALL_BYTES - 100
HOSTILE = {
    "deep lists": "[" * N,
    "deep mappings": "{a: " * (N // 4),
    "deep blocks": "- " * (N // 2),
    "aliases": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{n + 1}: &a{n + 1} [{','.join([f'*a{n}'] * 9)}]\n" for n in range(30)),
    "an alias within itself": "csv:\n  sensors: &a [*a]\n",
    "a mapping within itself": "csv: &a\n  sensors: *a\n",
    "unknown keys": "".join(f"k{n}: 1\n" for n in range(N // 9)),
    "one key again and again": "host: a\n" * (N // 8),
    "keys in a flow": "{" + '"a",' * (N // 4) + "}",
    "a huge file": "# comment\n" * 1_000_000,
    "a huge number": "port: " + "9" * (N - 6),
    "no text": "\0" * 100,
    "an escape that does not exist": 'host: "\\UFFFFFFFF"\n',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_costs_little_and_gives_few_lines(tmp_path, text):
    file = tmp_path / "luxcli.yaml"
    file.write_text(text, encoding="utf-8")
    most_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    with pytest.raises(ConfigError) as failure:
        config.load(file, {}, tmp_path)
    assert time.process_time() - began < 3  # 0.8 s on an idle machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most_kb < 64_000
    assert 1 <= len(failure.value.problems) <= 61
    assert all(str(file) in line or "more problems" in line for line in failure.value.problems)


def test_a_pipe_is_read_like_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("host: 10.0.0.1\n",))
    writer.start()
    assert config.load(pipe, {}, tmp_path).host == "10.0.0.1"
    writer.join()


def test_a_pipe_without_a_writer_is_not_waited_for_for_ever(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    problems = []
    assert yaml_file.read(pipe, problems, pipe_s=0.2) == {}
    [problem] = problems
    assert problem.text.endswith("pipe: cannot be read: it did not end in 0.2 s")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch], ids=["directory", "unreadable"])
def test_what_cannot_be_read_is_one_line(tmp_path, make):
    path = tmp_path / "luxcli.yaml"
    make(path)
    if path.is_file():
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        path.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read") as failure:
        config.load(path, {}, tmp_path)
    assert len(failure.value.problems) == 1
