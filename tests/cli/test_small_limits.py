"""A poll under limits of address space and open files, as on small machines and in containers."""

import resource
import subprocess
import sys

import pytest

MB = 1024 * 1024


def limited(cli, file, *command, **limits):
    """Run a command with limits; gives status and the lines of stderr."""

    def set_limits():
        for name, most in limits.items():
            resource.setrlimit(getattr(resource, name), (most, most))

    done = subprocess.run(
        [sys.executable, "-m", "luxcli", *command, "-c", str(file)],
        env={k: v for k, v in cli.environment().items() if not k.startswith("COV")},
        cwd=cli.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=set_limits,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("flush_polls", [1, 20])
def test_16_open_files_and_64_mb_of_address_space_suffice_for_a_poll(
    cli, configure, simulator, flush_polls
):
    """Measured with Python 3.11 on x86-64: the interpreter alone needs 12 MB, such a poll 48 MB."""
    file = configure(port=simulator.port, flush_polls=flush_polls)
    limits = {"RLIMIT_AS": 64 * MB, "RLIMIT_NOFILE": 16}
    for _ in range(2):
        assert limited(cli, file, "poll-once", **limits) == (0, [])


@pytest.mark.parametrize("megabytes", [24, 28])
def test_with_too_little_memory_a_poll_is_one_line(cli, configure, simulator, megabytes):
    """With 20 MB, Python 3.15 does not even start."""
    file = configure(port=simulator.port)
    status, [line] = limited(cli, file, "poll-once", RLIMIT_AS=megabytes * MB)
    assert status == 75
    assert line == "luxcli: out of memory; it needs 64 MB of address space: see 'ulimit -v'"


def test_with_too_few_open_files_a_poll_is_one_line(cli, configure, simulator):
    file = configure(port=simulator.port)
    status, [line] = limited(cli, file, "poll-once", RLIMIT_NOFILE=5)
    assert status in {69, 74}
    assert "Too many open files" in line
