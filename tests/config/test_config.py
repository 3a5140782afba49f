"""Settings from YAML and the environment: their precedence, their places, and every mistake."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from luxcli.config import config, sources
from luxcli.config import sample as sample_config
from luxcli.config.config import Config
from luxcli.config.settings import SETTINGS
from luxcli.errors import ConfigError
from tests.support import builders


class Example(NamedTuple):
    """One value of a setting, as it is written and as it is read."""

    yaml: str
    text: str
    attribute: str
    value: object


EXAMPLES = {
    "host": Example("192.168.1.50", "192.168.1.50", "host", "192.168.1.50"),
    "port": Example("8888", "8888", "port", 8888),
    "interval_sec": Example("60", "60", "interval_sec", 60),
    "csv_time": Example('"06:45"', "06:45", "csv_time", time(6, 45)),
    "weekly_day": Example("Friday", "fri", "weekly_day", 4),
    "cache_path": Example("/d/c.sqlite3", "/d/c.sqlite3", "cache_path", Path("/d/c.sqlite3")),
    "output_dirs.daily": Example("/out/d", "/out/d", "daily_dir", Path("/out/d")),
    "output_dirs.weekly": Example("/out/w", "/out/w", "weekly_dir", Path("/out/w")),
    "timeout_sec": Example("15", "15", "timeout_sec", 15),
    "retries": Example("0", "0", "retries", 0),
    "timezone": Example("Europe/Vienna", "Europe/Vienna", "timezone", "Europe/Vienna"),
    "csv_retention_days": Example("0", "0", "csv_retention_days", 0),
    "cache_retention_days": Example("1000", "1000", "cache_retention_days", 1000),
    "disk_usage_limit_percent": Example("80", "80", "disk_usage_limit_percent", 80),
    "archive": Example("no", "off", "archive", False),
    "flush_polls": Example("1", "1", "flush_polls", 1),
    "csv.sensors": Example(
        "[parameters, ID_WEB_*]", "parameters, ID_WEB_*", "csv_sensors", ("parameters", "ID_WEB_*")
    ),
    "csv.headers": Example("name", "NAME", "csv_headers", "name"),
    "csv.delimiter": Example('";"', "semicolon", "csv_delimiter", ";"),
    "csv.decimal": Example('"."', ".", "csv_decimal", "."),
    "csv.bom": Example("true", "1", "csv_bom", True),
    "csv.enums": Example("code", "code", "csv_enums", "code"),
    "log_level": Example("debug", "Debug", "log_level", "DEBUG"),
    "log_format": Example("json", "json", "log_format", "json"),
    "log_file": Example("/l/luxcli.log", "/l/luxcli.log", "log_file", Path("/l/luxcli.log")),
    "monitoring.healthchecks_url": Example(
        "{poll: 'http://h/p', prune: 'https://h:1/q?create=1'}",
        "poll=http://h/p prune=https://h:1/q?create=1",
        "monitoring_healthchecks_url",
        (("poll", "http://h/p"), ("prune", "https://h:1/q?create=1")),
    ),
    "monitoring.healthchecks_url_file": Example(
        "/s/h", "/s/h", "monitoring_healthchecks_url_file", Path("/s/h")
    ),
    "monitoring.uptime_kuma_url": Example(
        "http://kuma/api/push/T",
        "http://kuma/api/push/T",
        "monitoring_uptime_kuma_url",
        (("poll", "http://kuma/api/push/T"),),
    ),
    "monitoring.uptime_kuma_url_file": Example(
        "/s/k", "/s/k", "monitoring_uptime_kuma_url_file", Path("/s/k")
    ),
    "monitoring.ntfy_url": Example(
        "https://ntfy.sh/t/", "https://ntfy.sh/t", "monitoring_ntfy_url", "https://ntfy.sh/t"
    ),
    "monitoring.ntfy_url_file": Example("/s/n", "/s/n", "monitoring_ntfy_url_file", Path("/s/n")),
    "monitoring.ntfy_token": Example("tk_1", " tk_1\n", "monitoring_ntfy_token", "tk_1"),
    "monitoring.ntfy_token_file": Example(
        "/s/t", "/s/t", "monitoring_ntfy_token_file", Path("/s/t")
    ),
    "monitoring.ntfy_title": Example("cellar", "cellar", "monitoring_ntfy_title", "cellar"),
    "monitoring.ntfy_priority": Example("5", "5", "monitoring_ntfy_priority", 5),
    "monitoring.ntfy_tags": Example("[a, b]", "a,b", "monitoring_ntfy_tags", ("a", "b")),
    "monitoring.command": Example(
        "[/bin/sh, -c, tell me]", "tell me", "monitoring_command", ("/bin/sh", "-c", "tell me")
    ),
    "monitoring.jobs": Example("[poll]", "POLL", "monitoring_jobs", ("poll",)),
    "monitoring.events": Example("[stale]", "stale", "monitoring_events", ("stale",)),
    "monitoring.ping_every": Example("10m", "600", "monitoring_ping_every", 600),
    "monitoring.stale_after": Example("2h", "7200s", "monitoring_stale_after", 7200),
}
DEFAULTS = {
    "host": None,
    "port": 8889,
    "interval_sec": 30,
    "csv_time": time(7),
    "weekly_day": 0,
    "timeout_sec": 60,
    "retries": 3,
    "timezone": None,
    "csv_retention_days": 30,
    "cache_retention_days": 365,
    "disk_usage_limit_percent": 90,
    "archive": True,
    "flush_polls": 20,
    "csv_sensors": ("calculations",),
    "csv_headers": "id",
    "csv_delimiter": ",",
    "csv_decimal": ".",
    "csv_bom": False,
    "csv_enums": "label",
    "log_level": None,
    "log_format": "text",
    "log_file": None,
    "monitoring_healthchecks_url": (),
    "monitoring_healthchecks_url_file": None,
    "monitoring_uptime_kuma_url": (),
    "monitoring_uptime_kuma_url_file": None,
    "monitoring_ntfy_url": "",
    "monitoring_ntfy_url_file": None,
    "monitoring_ntfy_token": "",
    "monitoring_ntfy_token_file": None,
    "monitoring_ntfy_title": "luxcli",
    "monitoring_ntfy_priority": 4,
    "monitoring_ntfy_tags": (),
    "monitoring_command": (),
    "monitoring_jobs": ("poll", "rollup", "prune"),
    "monitoring_events": ("failed", "recovered", "stale"),
    "monitoring_ping_every": 300,
    "monitoring_stale_after": None,
}
BARE = {  # the first block of the configuration, for `docker run --env-file`
    "host",
    "port",
    "interval_sec",
    "csv_time",
    "weekly_day",
    "cache_path",
    "output_dirs.daily",
    "output_dirs.weekly",
    "timeout_sec",
    "retries",
    "timezone",
    "csv_retention_days",
    "cache_retention_days",
    "disk_usage_limit_percent",
    "log_level",
    "log_format",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Config:
    """Load `text` from luxcli.yaml in the current directory, with just these variables."""
    path = None
    if text is not None:
        path = Path("luxcli.yaml")
        path.write_text(text, encoding="utf-8")
    return config.load(path, {"HOME": "/home/owner", **(environ or {})}, Path.cwd(), options)


def problems(
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, environ, options)
    assert caught.value.exit_code == 78
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return list(caught.value.problems)


def yaml_line(key: str, value: str) -> str:
    head, _, name = key.rpartition(".")
    return f"{head}:\n  {name}: {value}\n" if head else f"{name}: {value}\n"


def variable(key: str) -> str:
    return key.replace(".", "_").upper()


# Every key, from everywhere


def test_the_examples_of_this_file_cover_every_setting():
    assert set(EXAMPLES) == {setting.key for setting in SETTINGS}
    assert {setting.key for setting in SETTINGS if setting.bare} == BARE


@pytest.mark.parametrize("key", EXAMPLES)
def test_a_key_is_read_from_the_file(key):
    example = EXAMPLES[key]
    loaded = load(yaml_line(key, example.yaml))
    assert getattr(loaded, example.attribute) == example.value
    assert loaded.origins[key] == f"luxcli.yaml:{2 if '.' in key else 1}"


@pytest.mark.parametrize("key", EXAMPLES)
def test_a_key_is_read_from_its_variable(key):
    example, name = EXAMPLES[key], "LUXCLI_" + variable(key)
    loaded = load(environ={name: example.text})
    assert getattr(loaded, example.attribute) == example.value
    assert loaded.origins[key] == name


@pytest.mark.parametrize("key", EXAMPLES)
def test_bare_names_of_the_first_block_are_read_and_no_others(key):
    example, name = EXAMPLES[key], variable(key)
    loaded = load(environ={name: example.text})
    unset = load()
    if key in BARE:
        assert getattr(loaded, example.attribute) == example.value
        assert loaded.origins[key] == name
    else:
        assert getattr(loaded, example.attribute) == getattr(unset, example.attribute)
        assert loaded.origins[key] == "default"


def test_without_any_setting_everything_is_the_default():
    loaded = load()
    assert {name: getattr(loaded, name) for name in DEFAULTS} == DEFAULTS
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.file is None
    assert loaded.cache_path == Path("/home/owner/.local/share/luxcli/cache.sqlite3")
    assert loaded.daily_dir == Path("/home/owner/.local/share/luxcli/reports/daily")
    assert loaded.weekly_dir == Path("/home/owner/.local/share/luxcli/reports/weekly")


def test_an_empty_file_is_a_file_without_settings():
    loaded = load("# nothing\n")
    assert {name: getattr(loaded, name) for name in DEFAULTS} == DEFAULTS
    assert loaded.file == Path("luxcli.yaml")


@pytest.mark.parametrize("key", sorted(BARE - {"log_format"}))  # which has but two values
def test_option_beats_variable_beats_file_beats_bare_name_beats_default(key):
    example = EXAMPLES[key]
    same = {
        "host": ["a", "b", "c", "d"],
        "csv_time": ["01:00", "02:00", "03:00", "04:00"],
        "weekly_day": ["tuesday", "wednesday", "thursday", "friday"],
        "log_level": ["DEBUG", "INFO", "WARNING", "ERROR"],
        "timezone": ["Europe/Rome", "Europe/Paris", "Europe/Madrid", "Europe/Oslo"],
    }
    numbers = ["11", "12", "13", "14"] if "retries" not in key else ["1", "2", "4", "5"]
    words = same.get(key, numbers)
    if key.startswith(("cache", "output")) and key != "cache_retention_days":
        words = ["/a", "/b", "/c", "/d"]
    bare, in_file, prefixed, option = words

    def value(*, upto: int) -> object:
        text = yaml_line(key, f'"{in_file}"') if upto >= 2 else ""
        environ = {variable(key): bare} if upto >= 1 else {}
        if upto >= 3:
            environ["LUXCLI_" + variable(key)] = prefixed
        return getattr(load(text, environ, {key: option} if upto >= 4 else {}), example.attribute)

    seen = [value(upto=upto) for upto in range(5)]
    alone = [
        getattr(load("", {"LUXCLI_" + variable(key): word}), example.attribute) for word in words
    ]
    assert seen[1:] == alone
    assert len(set(seen)) == 5


def test_an_option_that_was_not_given_is_no_option():
    assert load("log_level: ERROR\n", options={"log_level": None}).log_level == "ERROR"
    assert load("log_level: ERROR\n", options={"log_level": "info"}).log_level == "INFO"


@pytest.mark.parametrize("name", ["LUXCLI_HOST", "HOST", "LUXCLI_PORT", "LUXCLI_CSV_SENSORS"])
def test_an_empty_variable_is_an_unset_one(name):
    loaded = load("host: pump\n", {name: ""})
    assert (loaded.host, loaded.port, loaded.csv_sensors) == ("pump", 8889, ("calculations",))
    assert name not in loaded.origins.values()


def test_the_variables_of_the_command_line_and_of_the_live_test_are_no_settings():
    names = ("LUXCLI_CONFIG", "LUXCLI_SYSTEM_CONFIG", "LUXCLI_LIVE_HOST", "LUXCLI_LIVE_PORT")
    load(environ=dict.fromkeys(names, "something"))


# Where the file and the data are


def test_the_first_configuration_file_of_the_usual_places_is_used(tmp_path):
    environ = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    places = [
        tmp_path / "luxcli.yaml",
        tmp_path / "xdg" / "luxcli" / "config.yaml",
        sources.SYSTEM_FILE,
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("host: pump\n", encoding="utf-8")
    in_home = tmp_path / "home" / ".config" / "luxcli" / "config.yaml"
    in_home.parent.mkdir(parents=True)
    in_home.write_text("host: pump\n", encoding="utf-8")
    for place in places:
        assert config.load(None, environ, tmp_path).file == place
        place.unlink()
    assert config.load(None, {"HOME": environ["HOME"]}, tmp_path).file == in_home


def test_the_configuration_of_the_machine_is_in_etc_unless_a_variable_names_another(tmp_path):
    code = "from luxcli.config import sources; print(sources.SYSTEM_FILE)"
    process = builders.python(code)
    assert process.communicate(timeout=8)[0] == "/etc/luxcli/config.yaml\n"
    other = tmp_path / "other.yaml"
    other.write_text("host: pump\n", encoding="utf-8")
    assert config.load(None, {sources.SYSTEM_VARIABLE: str(other)}, tmp_path).file == other


def test_a_named_file_is_used_instead_of_the_usual_places(tmp_path):
    (tmp_path / "luxcli.yaml").write_text("host: usual\n", encoding="utf-8")
    named = tmp_path / "named.yaml"
    named.write_text("host: named\n", encoding="utf-8")
    assert config.load(named, {}, tmp_path).host == "named"


def test_relative_paths_in_the_file_start_at_the_file_and_others_at_the_current_directory(tmp_path):
    file = tmp_path / "etc" / "luxcli.yaml"
    file.parent.mkdir()
    file.write_text("cache_path: data/c.sqlite3\noutput_dirs: {daily: ../day}\n", encoding="utf-8")
    environ = {"LUXCLI_OUTPUT_DIRS_WEEKLY": "week"}
    for path in (file, Path("etc/luxcli.yaml")):
        loaded = config.load(path, environ, tmp_path)
        assert loaded.cache_path == tmp_path / "etc" / "data" / "c.sqlite3"
        assert loaded.daily_dir == tmp_path / "day"
        assert loaded.weekly_dir == tmp_path / "week"
    loaded = config.load(file, environ, tmp_path, {"cache_path": "mine/c.sqlite3"})
    assert loaded.cache_path == tmp_path / "mine" / "c.sqlite3"


def test_the_csv_directories_are_beside_the_cache_unless_set():
    loaded = load("cache_path: /data/c.sqlite3\noutput_dirs: {weekly: /week}\n")
    assert loaded.daily_dir == Path("/data/reports/daily")
    assert loaded.weekly_dir == Path("/week")


def test_a_tilde_is_the_home_directory():
    home = Path(os.environ["HOME"])
    assert load("cache_path: ~/lux/c.sqlite3\n").cache_path == home / "lux" / "c.sqlite3"


def test_the_data_directory_follows_xdg_and_ignores_a_relative_one():
    absolute = load(environ={"XDG_DATA_HOME": "/srv"})
    assert absolute.cache_path == Path("/srv/luxcli/cache.sqlite3")
    relative = load(environ={"XDG_DATA_HOME": "srv"})
    assert relative.cache_path == Path("/home/owner/.local/share/luxcli/cache.sqlite3")


def test_a_system_user_without_a_home_keeps_its_data_under_var_lib():
    assert load(environ={"HOME": ""}).cache_path == Path("/var/lib/luxcli/cache.sqlite3")


def test_one_output_directory_serves_both_kinds_of_csv(tmp_path):
    loaded = load("output_dirs: csv\n")
    assert loaded.daily_dir == loaded.weekly_dir == tmp_path / "csv"
    loaded = load(environ={"LUXCLI_OUTPUT_DIRS": "csv"})
    assert loaded.daily_dir == loaded.weekly_dir == tmp_path / "csv"
    loaded = load(environ={"OUTPUT_DIRS": "csv"})
    assert loaded.daily_dir == loaded.weekly_dir == tmp_path / "csv"


def test_one_directory_for_both_gives_way_to_a_particular_one_of_the_same_place():
    environ = {"LUXCLI_OUTPUT_DIRS": "/both", "LUXCLI_OUTPUT_DIRS_WEEKLY": "/week"}
    loaded = load(environ=environ)
    assert (loaded.daily_dir, loaded.weekly_dir) == (Path("/both"), Path("/week"))


def test_one_directory_for_both_in_the_file_beats_a_bare_name():
    loaded = load("output_dirs: /file\n", {"OUTPUT_DIRS_DAILY": "/bare"})
    assert (loaded.daily_dir, loaded.weekly_dir) == (Path("/file"), Path("/file"))


def test_one_directory_for_both_in_a_variable_beats_the_file():
    text = "output_dirs: {daily: /file/d, weekly: /file/w}\n"
    loaded = load(text, {"LUXCLI_OUTPUT_DIRS": "/variable"})
    assert (loaded.daily_dir, loaded.weekly_dir) == (Path("/variable"), Path("/variable"))


# Values as people write them


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("07:00", time(7)),
        ("7:30", time(7, 30)),  # unquoted, YAML 1.1 makes 450 of it
        ("0:05", time(0, 5)),
        ("23:59", time(23, 59)),
        ('"7:30"', time(7, 30)),
        ("'00:00'", time(0)),
    ],
)
def test_a_time_of_day_may_be_written_with_or_without_quotes(written, read):
    assert load(f"csv_time: {written}\n").csv_time == read


@pytest.mark.parametrize("written", ['"25:00"', "07:60", '"7"', "noon", "07:0", "-1:00", "7:00:00"])
def test_what_is_no_time_of_day_is_refused(written):
    [problem] = problems(f"csv_time: {written}\n")
    assert re.fullmatch(r"luxcli.yaml:1: csv_time: .* is not a time of day like 07:00", problem)


def test_a_time_of_day_out_of_range_is_shown_as_it_was_written():
    assert problems("csv_time: 25:00\n") == [
        "luxcli.yaml:1: csv_time: '25:00' is not a time of day like 07:00"
    ]


@pytest.mark.parametrize("written", ["7", "700", "0730", "19"])
def test_a_number_is_no_time_of_day(written):
    [problem] = problems(f"csv_time: {written}\n")
    assert problem.endswith("is not a time of day like 07:00")


@pytest.mark.parametrize("written", ["[calculations, ID_WEB_*]", "calculations, ID_WEB_*"])
def test_sensors_may_be_a_list_or_a_text_with_commas(written):
    wanted = ("calculations", "ID_WEB_*")
    assert load(f"csv:\n  sensors: {written}\n").csv_sensors == wanted
    block = "csv:\n  sensors:\n    - calculations\n    - ID_WEB_*\n"
    assert load(block).csv_sensors == wanted
    assert load(environ={"LUXCLI_CSV_SENSORS": "calculations,ID_WEB_*"}).csv_sensors == wanted


@pytest.mark.parametrize("written", ["[]", '","', "{a: b}"])
def test_sensors_of_another_shape_are_refused(written):
    [problem] = problems(f"csv:\n  sensors: {written}\n")
    assert problem.startswith("luxcli.yaml:2: csv.sensors: ")


@pytest.mark.parametrize(
    ("written", "read"), [("tab", "\t"), ('"\\t"', "\t"), ('"|"', "|"), ("comma", ",")]
)
def test_delimiters_have_names(written, read):
    assert load(f"csv:\n  delimiter: {written}\n").csv_delimiter == read


def test_decimal_and_delimiter_cannot_be_the_same():
    expected = "csv.decimal and csv.delimiter are both ','; set csv.delimiter to ';'"
    assert problems('csv:\n  bom: true\n  decimal: ","\n') == [f"luxcli.yaml:3: {expected}"]
    assert problems(environ={"LUXCLI_CSV_DECIMAL": ","}) == [f"LUXCLI_CSV_DECIMAL: {expected}"]
    both = load('csv:\n  decimal: ","\n  delimiter: ";"\n')
    assert (both.csv_decimal, both.csv_delimiter) == (",", ";")


def test_addresses_of_all_kinds_are_hosts():
    for written, read in [
        ("pump.local", "pump.local"),
        ("fe80::1", "fe80::1"),
        ('"[fe80::1]"', "fe80::1"),
        ('" 192.168.1.50 "', "192.168.1.50"),
        ("1e3", "1e3"),  # a text all the same
        ("0x10", "0x10"),
    ]:
        assert load(f"host: {written}\n").host == read


@pytest.mark.parametrize(
    "written", ["http://pump", "my pump", "pump/8889", "root@pump", "[a]", "a:"]
)
def test_what_is_no_host_is_refused(written):
    assert problems(f"host: {written}\n")[0].startswith("luxcli.yaml:1: ")


@pytest.mark.parametrize(
    ("key", "low", "high", "also"),
    [
        ("port", 1, 65535, None),
        ("interval_sec", 10, 3600, None),
        ("timeout_sec", 1, 600, None),
        ("retries", 0, 10, None),
        ("csv_retention_days", 1, 36500, 0),
        ("cache_retention_days", 1, 36500, 0),
        ("disk_usage_limit_percent", 1, 100, None),
        ("flush_polls", 1, 1000, None),
    ],
)
def test_numbers_have_limits(key, low, high, also):
    for good in (low, high, *(() if also is None else (also,))):
        assert getattr(load(f"{key}: {good}\n"), key) == good
        assert getattr(load(environ={"LUXCLI_" + key.upper(): str(good)}), key) == good
    for bad in (-1, high + 1, *(() if low == 0 or also == 0 else (0,))):
        alternative = "" if also is None else f" or {also}"
        wanted = f"{key}: {bad} is not in {low}..{high}{alternative}"
        assert problems(f"{key}: {bad}\n") == [f"luxcli.yaml:1: {wanted}"]
        name = "LUXCLI_" + key.upper()
        assert problems(environ={name: str(bad)}) == [f"{name}: {wanted}"]


@pytest.mark.parametrize("written", ["soon", "1.5", "true", "[1]", '""', "12s"])
def test_what_is_no_whole_number_is_refused(written):
    [problem] = problems(f"retries: {written}\n")
    assert re.fullmatch(r"luxcli.yaml:1: retries: .* is not a whole number", problem)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("archive: perhaps", "archive: 'perhaps' is neither true nor false"),
        ("weekly_day: someday", "weekly_day: 'someday' is not a weekday: monday, tuesday,"),
        ("weekly_day: t", "weekly_day: 't' is not a weekday"),
        ("timezone: Europe/Bärlin", "timezone: 'Europe/Bärlin' is not a time zone like"),
        ("timezone: /Europe/Rome", "timezone: '/Europe/Rome' is not a time zone"),
        ("timezone: Europe//Rome", "timezone: 'Europe//Rome' is not a time zone"),
        ("timezone: tzdata.zi", "timezone: 'tzdata.zi' is not a time zone"),
        ("timezone: Europe", "timezone: 'Europe' is not a time zone"),
        ("timezone: ../../etc/passwd", "timezone: '../../etc/passwd' is not a time zone"),
        ("timezone: 2", "timezone: '2' is not a time zone like Europe/Berlin"),
        ("log_format: xml", "log_format: 'xml' is not one of text, json"),
        ("log_level: loud", "log_level: 'loud' is not one of DEBUG, INFO, WARNING, ERROR"),
        ("csv: {headers: long}", "csv.headers: 'long' is not one of id, name"),
        ("csv: {delimiter: x}", "csv.delimiter: 'x' is not one of , ; | tab"),
        ("csv: {decimal: x}", "csv.decimal: 'x' is not one of . ,"),
        ("csv: {enums: x}", "csv.enums: 'x' is not one of label, code"),
        ("cache_path: [c]", "cache_path: ['c'] is not a text"),
        ("host:", "host: has no value"),
        ("port: ~", "port: has no value"),
        ("port: 2026-13-45", "port: '2026-13-45' is not a whole number"),
    ],
)
def test_a_wrong_value_is_one_line_with_its_place(line, reason):
    [problem] = problems(f"# a comment\n{line}\n")
    assert problem.startswith(f"luxcli.yaml:2: {reason}")


# Mistakes in the file and in the environment


def test_all_problems_are_reported_at_once_with_their_places():
    text = (
        "host: http://pump\n"
        "prot: 8889\n"
        "retries: many\n"
        "csv:\n"
        "  bom: perhaps\n"
        "  sensor: all\n"
        "port: 70000\n"
        "port: 8889\n"
    )
    environ = {"LUXCLI_TIMEOUT_SEC": "0", "LUXCLI_CVS_BOM": "1", "INTERVAL_SEC": "5"}
    assert sorted(problems(text, environ, {"log_level": "loud"})) == sorted(
        [
            "luxcli.yaml:1: host: 'http://pump' is not a host name or address",
            "luxcli.yaml:2: prot: no such setting (did you mean port?)",
            "luxcli.yaml:3: retries: 'many' is not a whole number",
            "luxcli.yaml:5: csv.bom: 'perhaps' is neither true nor false",
            "luxcli.yaml:6: csv.sensor: no such setting (did you mean csv.sensors?)",
            "luxcli.yaml:7: port: 70000 is not in 1..65535",
            "luxcli.yaml:8: port: already set at luxcli.yaml:7",
            "LUXCLI_TIMEOUT_SEC: timeout_sec: 0 is not in 1..600",
            "LUXCLI_CVS_BOM: no such setting (did you mean LUXCLI_CSV_BOM?)",
            "INTERVAL_SEC: interval_sec: 5 is not in 10..3600",
            "--log-level: log_level: 'loud' is not one of DEBUG, INFO, WARNING, ERROR",
        ]
    )


def test_an_unknown_name_that_resembles_none_has_no_suggestion():
    assert problems("zzz: 1\n") == ["luxcli.yaml:1: zzz: no such setting"]


@pytest.mark.parametrize(
    "text",
    [
        "host: a\nhost: b\n",
        "csv:\n  bom: true\n  bom: true\n",
        "csv: {bom: true}\ncsv: {bom: true}\n",
        "output_dirs: a\noutput_dirs: b\n",
        "output_dirs: a\noutput_dirs: {daily: b}\n",
        "output_dirs: {daily: a}\noutput_dirs: b\n",
    ],
)
def test_a_key_that_is_set_twice_is_a_mistake(text):
    [problem] = problems(text)
    assert re.fullmatch(r"luxcli.yaml:\d: [a-z._]+: already set at luxcli.yaml:\d", problem)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("host: pump\nport: [8889\n", r":\d"),
        ("host: pump\n\tport: 8889\n", ":2"),
        ("host: pump: other\n", ":1"),
        ('host: "pump\n', r":\d"),
        ("host: pump\n---\nhost: other\n", ":2"),
        ("host: *nobody\n", ":1"),
        ("{" * 50, r":\d"),
        ("host: pu\0mp\n", r"(:\d)?"),
        ("host: pu\x07mp\n", r"(:\d)?"),
    ],
)
def test_malformed_yaml_is_one_line_with_its_place(text, line):
    [problem] = problems(text)
    assert re.match(rf"luxcli.yaml{line}: not valid YAML: \w+", problem)


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("[/bin/log, yes, 07:00, 010, 1.0]", ("/bin/log", "yes", "07:00", "010", "1.0")),
        ("[/bin/log, !!bool maybe]", ("/bin/log", "maybe")),
        ("[/bin/log, !!timestamp never]", ("/bin/log", "never")),
        ("!!python/tuple [/bin/log, x]", ("/bin/log", "x")),
        ("!!python/object/apply:os.system [/bin/log]", ("/bin/log",)),
    ],
)
def test_what_stands_in_a_list_is_text_as_it_is_written(written, arguments):
    assert load(f"monitoring:\n  command: {written}\n").monitoring_command == arguments


@pytest.mark.parametrize(
    "written",
    [
        "[a, [b]]",
        "[{a: b}]",
        "{a: [b]}",
        "{[a]: b}",
        "&again [*again]",
        "&again {a: *again}",
        "[&one [x, x, x], &two [*one, *one, *one], [*two, *two, *two]]",
        "[" * 100 + "]" * 100,
    ],
)
def test_a_value_inside_of_a_value_is_refused(written):
    assert problems(f"csv:\n  sensors: {written}\n") == [
        "luxcli.yaml:2: csv.sensors: has a list or mapping inside of another"
    ]


@pytest.mark.parametrize("text", ["host: " + "[" * 3000 + "]" * 3000, "{a: " * 3000 + "}" * 3000])
def test_a_file_of_countless_levels_is_refused(text):
    assert problems(text) == ["luxcli.yaml: not usable: its lists or mappings are too deep"]


def test_a_mapping_that_names_a_job_twice_is_refused():
    jobs = "{poll: http://a/, poll: http://b/}"
    assert problems(f"monitoring:\n  healthchecks_url: {jobs}\n") == [
        "luxcli.yaml:2: monitoring.healthchecks_url: has a key twice"
    ]


@pytest.mark.parametrize("written", ["[a]", "{a: b}", "!!set {a}"])
@pytest.mark.parametrize("setting", [setting.key for setting in SETTINGS])
def test_a_list_or_a_mapping_is_accepted_or_refused_for_every_setting(setting, written):
    found: Config | ConfigError
    try:
        found = load(yaml_line(setting, written))
    except ConfigError as exc:
        found = exc
    assert isinstance(found, Config) or setting in str(found)


@pytest.mark.parametrize("text", ["- host\n- port\n", "pump\n", "8889\n", '"host: pump"\n'])
def test_a_file_that_is_no_mapping_is_refused(text):
    assert problems(text) == ["luxcli.yaml:1: expected 'key: value' lines"]


def test_a_section_that_is_no_mapping_is_refused():
    assert problems("csv: yes\n") == ["luxcli.yaml:1: csv: expected 'key: value' lines"]
    assert problems("output_dirs: [a, b]\n") == [
        "luxcli.yaml:1: output_dirs: expected 'key: value' lines"
    ]


@pytest.mark.parametrize("written", ["/", "//", "/data/..", ".", "~/."])
def test_a_cache_path_that_can_be_no_file_is_refused(written):
    assert problems(f"cache_path: {written}\n") == [
        f"luxcli.yaml:1: cache_path: {written!r} is a directory; add the name of a file"
    ]


def test_a_path_with_a_character_that_no_path_has_is_refused():
    assert problems('log_file: "a\\0b"\n') == [
        r"luxcli.yaml:1: log_file: 'a\x00b' cannot be a path"
    ]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    def message(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            config.load(path, {}, tmp_path)
        [problem] = caught.value.problems
        assert "\n" not in problem
        return problem

    missing, directory, binary = (tmp_path / name for name in ("missing", "directory", "binary"))
    directory.mkdir()
    binary.write_bytes(bytes(range(256)))
    assert message(missing) == f"{missing}: cannot be read: No such file or directory"
    assert message(directory) == f"{directory}: cannot be read: Is a directory"
    assert message(binary).startswith(
        f"{binary}: cannot be read: 'utf-8' codec can't decode byte 0x80"
    )


@pytest.mark.parametrize(("named", "needed"), [((), False), (("luxcli.yaml",), True)])
def test_only_who_has_a_configuration_file_pays_for_pyyaml(named, needed):
    Path("luxcli.yaml").write_text("port: 8888\n", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from luxcli.config import config\n"
        "path = Path(sys.argv[1]) if sys.argv[1:] else None\n"
        "config.load(path, {'HOST': 'pump'}, Path.cwd(), search=False)\n"
        "print('yaml' in sys.modules)"
    )
    environ = os.environ | {"PYTHONPATH": str(Path(config.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, *named],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
    )
    assert done.stdout == f"{needed}\n"


def test_a_file_written_on_windows_is_understood():
    Path("luxcli.yaml").write_bytes("\ufeffhost: pump\r\nport: 8888\r\n".encode())
    loaded = config.load(Path("luxcli.yaml"), {}, Path.cwd())
    assert (loaded.host, loaded.port) == ("pump", 8888)


def test_a_missing_host_is_only_missed_when_it_is_needed():
    with pytest.raises(ConfigError, match=r"^host: missing; 'luxcli config init "):
        load().require_host()
    with pytest.raises(ConfigError, match=r"^luxcli\.yaml: host: missing; .* LUXCLI_HOST$"):
        load("port: 8889\n").require_host()
    assert load("host: pump\n").require_host() == "pump"


# The sample

# A line of the sample that shows a default, with the comment sign to take away.
WORDS = "|".join({word for setting in SETTINGS for word in setting.key.split(".")})
COMMENTED = re.compile(rf"^# ( *({WORDS}):( .*)?)$", re.MULTILINE)
# What the sample shows for these is an example, since their default depends on the machine.
EXAMPLES_ONLY = {"cache_path", "daily_dir", "weekly_dir", "timezone", "log_level", "log_file"} | {
    "monitoring_" + name
    for name in (
        *("healthchecks_url", "healthchecks_url_file", "uptime_kuma_url", "uptime_kuma_url_file"),
        *("ntfy_url", "ntfy_url_file", "ntfy_token", "ntfy_token_file", "ntfy_tags"),
        *("command", "stale_after"),
    )
}
HEADS = {key.partition(".")[0] for key in EXAMPLES if "." in key}


def test_the_sample_says_nothing_but_the_defaults():
    loaded, plain = load(sample_config.sample("pump")), load("host: pump\n")
    names = [name for name in Config._fields if name not in {"file", "origins"}]
    assert {name: getattr(loaded, name) for name in names} == {
        name: getattr(plain, name) for name in names
    }
    assert yaml.safe_load(sample_config.sample(None)) == {"host": "192.168.1.50"}


def test_every_line_of_the_sample_can_be_put_into_force():
    text = COMMENTED.sub(r"\1", sample_config.sample("pump"))
    loaded, plain = load(text), load("host: pump\n")
    assert "default" not in loaded.origins.values()
    for name in Config._fields:
        if name not in {"file", "origins", *EXAMPLES_ONLY}:
            assert getattr(loaded, name) == getattr(plain, name), name
    assert loaded.timezone == "Europe/Berlin"
    assert loaded.log_level == "WARNING"


def test_each_line_of_the_sample_can_be_put_into_force_alone():
    sample = sample_config.sample("pump")
    matches = [m for m in COMMENTED.finditer(sample) if m[1].strip().rstrip(":") not in HEADS]
    assert len(matches) == len(SETTINGS) - 1
    for match in matches:
        text = sample[: match.start()] + match[1] + sample[match.end() :]
        if match[1].startswith(" "):
            head = max(HEADS, key=lambda head: sample.rfind(f"# {head}:\n", 0, match.start()))
            text = text.replace(f"# {head}:\n", f"{head}:\n")
        assert list(load(text).origins.values()).count("default") == len(SETTINGS) - 2


def test_every_setting_is_explained_in_the_sample():
    lines = sample_config.sample(None).splitlines()
    for setting in SETTINGS:
        name = setting.key.rpartition(".")[2]
        [at] = [i for i, line in enumerate(lines) if re.match(rf"(# *)?{name}:", line)]
        explanation = setting.help.split("\n")[-1]
        assert lines[at - 1].lstrip("# ") == explanation.lstrip("# "), setting.key


# The commands


def test_config_init_writes_a_file_that_works_and_never_replaces_one(invoke, tmp_path):
    file = tmp_path / "luxcli.yaml"
    first = invoke("config", "init", "--host", "pump.local")
    assert (first.status, first.stderr) == (0, "")
    assert config.load(file, {}, tmp_path).host == "pump.local"
    file.write_text("host: mine\n", encoding="utf-8")
    second = invoke("config", "init")
    assert (second.status, second.stdout) == (2, "")
    assert (
        second.stderr
        == "luxcli: luxcli.yaml: exists already; nothing was changed; name another file\n"
    )
    assert file.read_text(encoding="utf-8") == "host: mine\n"


def test_config_init_without_a_host_says_what_to_do(invoke, tmp_path):
    done = invoke("config", "init", "sub.yaml")
    assert done.status == 0
    assert done.stdout == "sub.yaml: written; set 'host' in it, then run 'luxcli config check'\n"
    assert config.load(tmp_path / "sub.yaml", {}, tmp_path).host == "192.168.1.50"


def test_a_directory_in_the_place_of_the_file_is_told_and_not_passed_over(tmp_path):
    (tmp_path / "luxcli.yaml").mkdir()  # as Docker does to mount a file that is not there
    with pytest.raises(ConfigError, match="yaml: cannot be read: Is a directory"):
        config.load(None, {"HOST": "10.0.0.7"}, tmp_path)


def test_config_init_into_a_missing_directory_is_one_line(invoke):
    failed = invoke("config", "init", "missing/luxcli.yaml")
    assert (failed.status, failed.stdout) == (74, "")
    assert failed.stderr == (
        "luxcli: missing/luxcli.yaml: cannot be written: missing does not exist; make this"
        " directory first\n"
    )


@pytest.mark.parametrize("host", ["fe80::1", "[fe80::1]", "1234", "my pump", "a: b", "http://pump"])
def test_config_init_writes_the_host_it_was_given_or_nothing(invoke, tmp_path, host):
    file = tmp_path / "luxcli.yaml"
    ran = invoke("config", "init", "--host", host)
    if ran.status == 0:
        assert config.load(file, {}, tmp_path).host == host.strip("[]")
    else:
        assert ran.status in {2, 78}
        assert re.fullmatch(r"luxcli: .*\n", ran.stderr)
        assert not file.exists()


def test_config_check_reports_every_problem_of_the_file_on_a_line_of_its_own(invoke, tmp_path):
    file = tmp_path / "luxcli.yaml"
    file.write_text("hots: pump\nport: x\n", encoding="utf-8")
    failed = invoke("config", "check", env={"LUXCLI_RETRIES": "11"})
    assert (failed.status, failed.stdout) == (78, "")
    assert sorted(failed.stderr.splitlines()) == [
        f"luxcli: {file}:1: hots: no such setting (did you mean host?)",
        f"luxcli: {file}:2: port: 'x' is not a whole number",
        "luxcli: LUXCLI_RETRIES: retries: 11 is not in 0..10",
    ]


def test_config_check_reports_an_unknown_sensor_with_its_place(invoke, configure):
    file = configure(csv={"sensors": ["calculations", "ID_WEB_Temperatur_TLV"]})
    at = file.read_text(encoding="utf-8").splitlines().index("  sensors:") + 1
    failed = invoke("config", "check", "-c", file)
    assert (failed.status, failed.stdout) == (78, "")
    assert failed.stderr == (
        f"luxcli: {file}:{at}: csv.sensors: 'ID_WEB_Temperatur_TLV' matches no sensor"
        " (did you mean ID_WEB_Temperatur_TVL?)\n"
    )
    failed = invoke("config", "check", env={"LUXCLI_HOST": "a", "LUXCLI_CSV_SENSORS": "zzz"})
    assert failed.status == 78
    assert failed.stderr.startswith("luxcli: LUXCLI_CSV_SENSORS: csv.sensors: 'zzz' matches no")


def test_config_check_reports_what_only_it_checks_at_once_as_well(invoke, tmp_path):
    file = tmp_path / "luxcli.yaml"
    file.write_text("csv:\n  sensors: zzz\n", encoding="utf-8")
    failed = invoke("config", "check")
    assert failed.status == 78
    lines = failed.stderr.splitlines()
    assert len(lines) == 2
    assert any(": host: missing" in line for line in lines)
    assert any(": csv.sensors: 'zzz' matches no sensor" in line for line in lines)


def test_config_check_accepts_a_good_file(invoke, configure):
    file = configure()
    good = invoke("config", "check", "-c", file)
    assert (good.status, good.stderr) == (0, "")
    assert good.stdout == f"{file}: no problems; heat pump 127.0.0.1\n"
    good = invoke("config", "check", "--json", "-c", file)
    assert json.loads(good.stdout) == {"ok": True, "file": str(file)}


def test_config_check_finds_a_cache_path_that_is_a_directory(invoke, configure, tmp_path):
    (tmp_path / "data").mkdir()
    failed = invoke("config", "check", "-c", configure(cache_path=str(tmp_path / "data")))
    assert (failed.status, failed.stdout) == (74, "")
    assert re.fullmatch(rf"luxcli: {tmp_path}/data: .*directory.*\n", failed.stderr)


def test_config_check_finds_a_csv_directory_that_cannot_be_made(invoke, configure, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    failed = invoke("config", "check", "-c", configure(output_dirs=str(tmp_path / "file" / "csv")))
    assert (failed.status, failed.stdout) == (74, "")
    assert re.fullmatch(rf"luxcli: {tmp_path}/file/csv: .*\n", failed.stderr)


def test_config_show_tells_every_value_and_where_it_comes_from(invoke, configure):
    file = configure(port=8888)
    line = file.read_text(encoding="utf-8").splitlines().index("port: 8888") + 1
    environ = {"LUXCLI_CSV_SENSORS": "all", "HOST": "ignored", "WEEKLY_DAY": "sunday"}
    shown = invoke("config", "show", "-c", file, "--log-level", "error", env=environ)
    assert (shown.status, shown.stderr) == (0, "")
    head, *rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert head == ["setting", "value", "from"]
    found = {key: (value, origin) for key, value, origin in rows}
    assert list(found) == [setting.key for setting in SETTINGS]
    assert found["port"] == ("8888", f"{file}:{line}")
    assert found["host"][0] == "127.0.0.1"
    assert found["csv.sensors"] == ("all", "LUXCLI_CSV_SENSORS")
    assert found["weekly_day"] == ("sunday", "WEEKLY_DAY")
    assert found["csv_time"] == ("07:00", "default")
    assert found["csv.bom"] == ("false", "default")
    assert found["log_level"] == ("ERROR", "--log-level")
    shown = invoke("config", "show", "--json", "-c", file, "--log-level", "error", env=environ)
    document = json.loads(shown.stdout)
    assert document["ok"] is True
    assert document["settings"] == {
        key: {"value": value, "origin": origin} for key, (value, origin) in found.items()
    }


def test_the_configuration_file_may_be_named_by_a_variable(invoke, configure):
    file = configure(host="named.local").rename("elsewhere.yaml")
    named = invoke("config", "check", env={"LUXCLI_CONFIG": str(file)})
    assert named.stdout == "elsewhere.yaml: no problems; heat pump named.local\n"
    missing = invoke("config", "check", env={"LUXCLI_CONFIG": "missing.yaml"})
    assert missing.status == 78
    assert missing.stderr == "luxcli: missing.yaml: cannot be read: No such file or directory\n"
    unset = invoke("config", "check", env={"LUXCLI_CONFIG": "", "LUXCLI_HOST": "pump"})
    assert unset.stdout == "environment: no problems; heat pump pump\n"


def test_the_check_says_what_a_recording_without_archives_cannot_do(invoke, configure):
    ran = invoke("config", "check", "-c", configure(archive=False))
    assert ran.status == 0
    assert "is rebuilt from the journals of 7 days only" in ran.stdout
