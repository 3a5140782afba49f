"""The bundle of `diagnose`: all that a bug report needs, and nothing about who and where."""

import json
import platform
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from luxcli.diagnosis.redaction import cleaner
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import catalogue
from luxcli.registers.private import PRIVATE
from tests.support.faulty_controller import Fault, FaultyController
from tests.support.scenario import configured

ADDRESS = struct.unpack(">i", bytes([192, 168, 178, 57]))[0]
SERIAL = (290311, 48879, 4711)
USER = "erika-mustermann"


def personal(snapshot: Snapshot) -> Snapshot:
    """A heat pump with addresses, a password and a serial number of its own."""
    calculations, parameters = list(snapshot.calculations), list(snapshot.parameters)
    calculations[91:95] = [ADDRESS] * 4
    for index in PRIVATE["parameters"] & set(range(len(parameters))):
        parameters[index] = ADDRESS
    parameters[874:877] = SERIAL
    return snapshot._replace(calculations=tuple(calculations), parameters=tuple(parameters))


def members(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def configuration(directory: Path, **settings: object) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "luxcli.yaml"
    path.write_text(yaml.safe_dump({"retries": 0, "timeout_sec": 1, **settings}), encoding="utf-8")
    return path


def environment(home: Path) -> Mapping[str, str]:
    return {"HOME": str(home), "USER": USER, "LOGNAME": USER}


def secrets(host: str, home: Path) -> list[str]:
    return [
        *(host, "127.0.0.1", "::1", "192.168.178.57", str(ADDRESS), USER),
        *(str(home), *map(str, SERIAL), "-".join(map(str, SERIAL[:2]))),
    ]


def test_no_member_tells_the_host_an_address_a_serial_number_or_a_name(cli, tmp_path):
    home = tmp_path / USER
    with FaultyController(Fault(change=personal), profile="long") as pump:
        path = configuration(home / "heating", host="localhost", port=pump.port)
        assert cli("poll-once", "-c", path, env=environment(home)).status == 0
        target = tmp_path / "report.zip"
        ran = cli("diagnose", "-c", path, "--bundle", target, env=environment(home))
    assert ran.status == 3
    assert f"{target}: written" in ran.stdout
    found = members(target)
    assert set(found) == {
        *("diagnose.json", "snapshot.json", "config.json", "versions.json", "log.txt")
    }
    for name, text in found.items():
        for secret in secrets("localhost", home):
            assert secret.lower() not in text.lower(), (name, secret)
        # A short name of a machine may be within other words.
        assert not re.search(rf"(?<!\w){re.escape(platform.node())}(?!\w)", text), name


def test_it_holds_the_diagnosis_the_log_the_settings_and_the_raw_blocks(cli, tmp_path):
    with FaultyController(Fault(change=personal)) as pump:
        path = configuration(tmp_path, host="127.0.0.1", port=pump.port)
        target = tmp_path / "report.zip"
        ran = cli("diagnose", "-c", path, "--bundle", target, "--json")
    found = members(target)
    whole = json.loads(found["diagnose.json"])
    assert whole["status"] == json.loads(ran.stdout)["status"] == ran.status
    sent = personal(pump.snapshot)
    assert len(whole["registers"]) == sum(len(sent.block(group)) for group in GROUPS)
    raw = json.loads(found["snapshot.json"])
    for group in GROUPS:
        for index, (kept, value) in enumerate(zip(raw[group], sent.block(group), strict=True)):
            assert kept == (None if index in PRIVATE[group] else value), (group, index)
    assert json.loads(found["config.json"])["host"]["value"] == "<host>"
    assert json.loads(found["versions.json"])["versions"]["luxtronik"]
    assert "DEBUG port" in found["log.txt"]
    assert "DEBUG parameters: 1075 values" in found["log.txt"]
    assert ran.stderr == "", "the log on stderr stays at its level"


def test_an_unreachable_heat_pump_makes_a_bundle_as_well(cli, tmp_path):
    path = configuration(tmp_path, host="erikas-pump.invalid")
    target = tmp_path / "report.zip"
    ran = cli("diagnose", "-c", path, "--bundle", target)
    assert ran.status == 69
    found = members(target)
    assert json.loads(found["snapshot.json"]) is None
    assert "<host>:8889" in found["diagnose.json"]
    assert all("erikas-pump" not in text for text in found.values())
    assert "name resolution" in found["log.txt"]


def test_a_wrong_configuration_makes_one_without_the_host_it_gives(cli, tmp_path):
    path = configuration(tmp_path, host="erikas pump", port="wrong")
    target = tmp_path / "report.zip"
    assert cli("diagnose", "-c", path, "--bundle", target).status == 78
    found = members(target)
    assert "port: <value> is not a whole number" in found["diagnose.json"]
    assert all("erikas" not in text and str(tmp_path) not in text for text in found.values())


def test_an_existing_file_is_left_alone_before_anything_is_done(cli, tmp_path, simulator):
    target = tmp_path / "report.zip"
    target.write_bytes(b"mine")
    path = configuration(tmp_path, host="127.0.0.1", port=simulator.port)
    ran = cli("diagnose", "-c", path, "--bundle", target)
    assert ran.status == 2
    assert "exists already and was left alone" in ran.stderr
    assert target.read_bytes() == b"mine"
    assert simulator.connections == 0


def test_a_place_that_cannot_be_written_is_told_after_the_diagnosis(cli, tmp_path):
    path = configuration(tmp_path, host="127.0.0.1")
    ran = cli("diagnose", "--offline", "-c", path, "--bundle", "/proc/report.zip")
    assert ran.status == 74
    assert "luxcli: /proc/report.zip: cannot be written" in ran.stderr
    assert "production checklist" in ran.stdout
    assert list(tmp_path.glob("*.tmp")) == []


def test_a_directory_that_is_not_there_is_not_made(cli, tmp_path, simulator):
    path = configuration(tmp_path, host="127.0.0.1", port=simulator.port)
    ran = cli("diagnose", "-c", path, "--bundle", tmp_path / "nowhere" / "report.zip")
    assert ran.status == 2
    assert f"luxcli: --bundle: {tmp_path / 'nowhere'}: is no directory" in ran.stderr
    assert not (tmp_path / "nowhere").exists()
    assert simulator.connections == 0


@pytest.mark.parametrize("name", ["a" * 300 + ".zip", "b" * 300 + "/x.zip"])
def test_a_name_that_cannot_be_a_files_is_refused_in_one_line(cli, tmp_path, name):
    path = configuration(tmp_path / "etc", cache_path=str(tmp_path / "data" / "cache.sqlite3"))
    ran = cli("diagnose", "-c", path, "--offline", "--bundle", tmp_path / name)
    assert ran.status == 2
    [line] = ran.stderr.splitlines()
    assert line.startswith("luxcli: --bundle: ")
    assert "File name too long" in line


def test_a_link_that_leads_nowhere_is_not_replaced_by_a_bundle(cli, tmp_path):
    path = configuration(tmp_path / "etc", cache_path=str(tmp_path / "data" / "cache.sqlite3"))
    link = tmp_path / "report.zip"
    link.symlink_to(tmp_path / "nowhere")
    assert cli("diagnose", "-c", path, "--offline", "--bundle", link).status == 2
    assert link.is_symlink()


def test_the_bundle_is_written_though_the_output_cannot_be(cli, tmp_path):
    path = configuration(tmp_path, host="127.0.0.1")
    target = tmp_path / "report.zip"
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = cli.start("diagnose", "--offline", "-c", path, "--bundle", target, stdout=full)
        ran = cli.end(process)
    assert ran.status == 74
    assert "the output cannot be written" in ran.stderr
    assert json.loads(members(target)["diagnose.json"])["sections"]


def test_a_bundle_that_cannot_be_written_leaves_one_json_object(cli, tmp_path):
    path = configuration(tmp_path, host="127.0.0.1")
    ran = cli("diagnose", "--offline", "--json", "-c", path, "--bundle", "/proc/report.zip")
    assert ran.status == 74
    found = json.loads(ran.stdout)
    assert found["bundle"] is None
    assert found["sections"]
    assert "/proc/report.zip: cannot be written" in ran.stderr


def test_names_in_directories_with_blanks_and_of_mounted_disks_are_taken_out(cli, tmp_path):
    home, disk = tmp_path / "hans meier", tmp_path / "media" / "hans meier" / "USB stick"
    reports = tmp_path / "srv" / "mueller" / "reports"
    for directory in (disk, reports):
        directory.mkdir(parents=True)
    places = {"cache_path": str(disk / "meier.sqlite3"), "output_dirs": str(reports)}
    env = {"HOME": str(home), "USER": "hans", "SUDO_USER": "karla"}
    with FaultyController() as pump:
        path = configuration(home / "karla", host="localhost", port=pump.port, **places)
        assert cli("poll-once", "-c", path, env=env).status == 0
        assert cli("rollup", "daily", "-c", path, env=env).status == 0
        target = tmp_path / "report.zip"
        ran = cli("diagnose", "-c", path, "--bundle", target, env=env)
    assert ran.status in {0, 3}
    for name, text in members(target).items():
        for secret in ("hans", "meier", "mueller", "karla", "USB stick", str(tmp_path)):
            assert secret.lower() not in text.lower(), (name, secret)
    whole = members(target)["diagnose.json"]
    for place in ("<data>: can be written", "<daily>: can be written", "<data>/<cache>: "):
        assert place in whole


def test_whom_to_tell_and_how_is_taken_out(cli, tmp_path):
    told = {"command": ["mail", "erika@meier.example"], "ntfy_title": "Haus Meier"}
    path = configuration(tmp_path, host="127.0.0.1", monitoring=told)
    target = tmp_path / "report.zip"
    cli("diagnose", "--offline", "-c", path, "--bundle", target)
    for name, text in members(target).items():
        assert "meier" not in text.lower(), name


def test_a_host_name_on_the_wrong_line_is_taken_out(cli, tmp_path):
    path = tmp_path / "meier.yaml"
    path.write_text("host: 8889\nport: wp.meier.lan\nwp.meier.lan: 1\n", encoding="utf-8")
    target = tmp_path / "report.zip"
    assert cli("diagnose", "-c", path, "--bundle", target).status == 78
    for name, text in members(target).items():
        assert "meier" not in text, name
    assert (
        "<configuration>:2: port: <value> is not a whole number" in members(target)["diagnose.json"]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at /media/hans meier/USB: local", "at <data>: local"),
        ("/media/hans meier/USB/cache.sqlite3: 3 MB", "<data>/cache.sqlite3: 3 MB"),
        ("/media/hans meier/USB/reports/daily: there", "<data>/reports/daily: there"),
        ("/media/hans meier/USB/my dear files/x: y", "<data>/<path>: y"),
        ("at /media/hans meier: local", "at <directory>: local"),
        ("file /home/hans meier/my luxcli.yaml", "file ~/<path>"),
        ("failed: /old disk/meier, h./x.csv: full", "failed: <path>: full"),
        ("'/srv/meier/x' (/srv/y) is", "'<path>' (<path>) is"),
        ("/old disk/meier, h./2027-01-15_daily.csv", "<path>/2027-01-15_daily.csv"),
        ("kept by Hans since, of karl's", "kept by <user> since, of <user>'s"),
        ("file system ext4 at /: local, 3 l/h", "file system ext4 at /: local, 3 l/h"),
    ],
)
def test_of_directories_only_what_luxcli_named_stays(tmp_path, text, expected):
    settings = configured(tmp_path, cache_path="/media/hans meier/USB/cache.sqlite3")
    environ = {"HOME": "/home/hans meier", "USER": "hans", "SUDO_USER": "karl"}
    assert cleaner(settings, environ)(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.7:8889: connect", "<address>:8889: connect"),
        ("it is fe80::1:2, 2001:db8::7.", "it is <address>, <address>."),
        ("at 07:00:00, 2026-11-24T07:00:00Z", "at 07:00:00, 2026-11-24T07:00:00Z"),
        ("Python 3.11.7, kernel 6.18.44-fc", "Python 3.11.7, kernel 6.18.44-fc"),
        ("not in /home/max/data: /home/erika", "not in <path>: ~"),
        ("PUMPE.fritz.box and pumpe.fritz.boxen", "<host> and pumpe.fritz.boxen"),
        ("device-pumpe.fritz.box-8889.lock", "device-<host>-8889.lock"),
        ("is /srv/erika/cache; erikasson", "is <path>; erikasson"),
        ("old-pump.lan:8889: connect", "<host>:8889: connect"),
        ("of another heat pump (old-pump.lan); give", "of another heat pump (<host>); give"),
    ],
)
def test_texts_are_cleaned_of_addresses_and_names_but_not_of_times_and_versions(
    tmp_path, text, expected
):
    settings = configured(tmp_path, host="pumpe.fritz.box")
    clean = cleaner(settings, {"HOME": "/home/erika", "USER": "erika"})
    assert clean(text) == expected


def test_private_are_all_registers_that_the_catalogue_calls_addresses_passwords_and_serials():
    telling = ("serial number", "password digit", "address", "subnet", "broadcast", "gateway")
    for entry in catalogue.catalogue():
        told = any(word in entry.name.lower() for word in telling) or entry.kind == "address"
        if told and entry.group != "visibilities":
            assert entry.index in PRIVATE[entry.group], entry
