"""The short way to read a configuration file gives what PyYAML gives, or nothing."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from luxcli.config import plain_yaml, sample
from luxcli.config.plain_yaml import Entry


def by_pyyaml(text: str) -> dict[str, Any]:
    """Return the texts of all scalars by dotted key, with their lines; errors as PyYAML's."""
    root = yaml.SafeLoader(text).get_single_node()
    found: dict[str, Any] = {}

    def collect(node: Any, head: str) -> None:
        assert isinstance(node, yaml.MappingNode)
        for key, value in node.value:
            name = head + key.value
            assert name not in found, "twice"
            if isinstance(value, yaml.MappingNode):
                found[name] = "block"
                collect(value, name + ".")
            else:
                assert isinstance(value, yaml.ScalarNode)
                assert value.tag != "tag:yaml.org,2002:null", "null"
                found[name] = (value.value, key.start_mark.line + 1)

    if root is not None:
        collect(root, "")
    return {name: what for name, what in found.items() if what != "block"}


def same(text: str) -> bool:
    """Whether it was understood; then it must be what PyYAML says."""
    plain = plain_yaml.entries(text)
    if plain is None:
        return False
    assert {entry.key: (entry.value, entry.line) for entry in plain} == by_pyyaml(text), text
    return True


def test_the_usual_configuration_is_plain():
    text = (
        "# my heat pump\n\nhost: 192.168.1.50   # Keller: Wärmepumpe\nport: 8889\n"
        "csv_time: 07:00\ncache_path: ~x/../a_b-c.sqlite3\n".replace("~x", "/srv")
        + "output_dirs:\n  # both\n  daily: 'my reports/daily'\n  weekly: \"w # x\"\n"
        "log_level: INFO\nmonitoring:\n    ntfy_url: https://ntfy.sh/a?b=c&d=%20\n"
    )
    assert plain_yaml.entries(text) == [
        Entry("host", "192.168.1.50", 3),
        Entry("port", "8889", 4),
        Entry("csv_time", "07:00", 5),
        Entry("cache_path", "/srv/../a_b-c.sqlite3", 6),
        Entry("output_dirs.daily", "my reports/daily", 9),
        Entry("output_dirs.weekly", "w # x", 10),
        Entry("log_level", "INFO", 11),
        Entry("monitoring.ntfy_url", "https://ntfy.sh/a?b=c&d=%20", 13),
    ]
    assert same(text)


def test_the_file_that_config_init_writes_is_plain():
    assert same(sample.sample("pump.lan"))
    assert same("")
    assert same("# nothing\n   \n")


@pytest.mark.parametrize(
    "text",
    [
        "host",
        "host:",
        "host:\n",
        "host:  # none\nport: 1",
        "host:x",
        "host : x",
        "host: null",
        "host: NULL",
        "host: ~",
        "host: -",
        "host: - x",
        "host: [a, b]",
        "host: {a: b}",
        "host: |\n  x",
        "host: >-\n  x",
        "host: &a x",
        "host: *a",
        "host: !!str x",
        "host: a: b",
        "host: a:",
        "host: a b",
        "host: a\n  b",
        "host: a\n  b: c",
        "host: 'a\n  b'",
        "host: 'it''s'",
        'host: "a\\n"',
        "host: 'a'b",
        "host: 'a'#b",
        "host: 'a",
        "host: a#b",
        "host: a\nhost: b",
        "a:\n  b: c\na: d",
        "a: d\na:\n  b: c",
        "a:\n  b: 1\n   c: 2",
        "a:\n  b: 1\n c: 2",
        "a:\n  b:\n    c: 1",
        "a:\n  b:\nc: 1",
        "a:\nb: 1",
        "a:\n",
        " a: 1",
        "- a: 1",
        "---\nhost: a",
        "host: a\n...\n",
        "%YAML 1.1\n",
        "\ufeffhost: a",
        "host: a\r\n",
        "host:\ta",
        "host: a\t# x",
        "host: a\u2028port: 1",
        "host: a\u00a0",
        "host: \u00fcber",
        "host: @x",
        "host: `x",
        "host: %x",
        "host: ?",
        "host: ,x",
        "'host': a",
        "? host\n: a",
        "Host: a",
        "_host: a",
        "<<: a",
    ],
)
def test_whatever_is_not_plain_is_left_to_pyyaml(text):
    assert plain_yaml.entries(text) is None


PIECES = [
    *("host: a", "port: 8889", "csv:", "  bom: true", "  decimal: ','", "   x: 1", "retries: 0x1F"),
    *(
        "# c",
        "",
        " ",
        "  # d",
        "  y: yes",
        "z: null",
        "t: 07:00",
        "d: 2026-11-24",
        "e: 1e3",
        "o: 017",
    ),
    *('q: "a b"', "q: 'a: b'", "w: a:b", "w: a#b", "w: a #b", "v: a ", "  -", "- a", "u: 'x' # y"),
    *("k: .inf", "l: =", "m: <<", "n: a,b", "i: *", "j: a*b&c", "s: ''", 's: ""', "h: ~x", "g: x~"),
]


def test_thousands_of_files_are_read_as_pyyaml_reads_them_or_left_to_it():
    chance, plain = random.Random(1), 0
    for _ in range(4000):
        text = "\n".join(chance.choices(PIECES, k=chance.randint(1, 6)))
        for _ in range(chance.choice((0, 0, 1))):
            at = chance.randrange(len(text) + 1)
            text = text[:at] + chance.choice(" :#'\"-,~x0\n\\&*[{%@!|>?") + text[at:]
        plain += same(text)
    assert 400 < plain < 3600


@pytest.mark.parametrize(
    ("text", "needed"), [("host: pump\n", False), ('host: "p\\x75mp"\n', True)]
)
def test_only_a_file_that_is_not_plain_costs_pyyaml(tmp_path: Path, text: str, needed: bool):
    file = tmp_path / "luxcli.yaml"
    file.write_text(text)
    code = (
        "import sys; from pathlib import Path; from luxcli.config import config\n"
        "print(config.load(Path(sys.argv[1]), {}, Path.cwd()).host, 'yaml' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"pump {needed}\n"
