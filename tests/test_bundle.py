"""The bundle of `diagnose`: all that a bug report needs, and nothing about who and where."""

import json
import platform
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from luxcli import bundle, sensors
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import PRIVATE
from tests.faulty import Fault, FaultyController
from tests.scenario import configured

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
    return replace(snapshot, calculations=tuple(calculations), parameters=tuple(parameters))


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
    assert "port: 'wrong'" in found["diagnose.json"]
    assert all("erikas" not in text for text in found.values())


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.7:8889: connect", "<address>:8889: connect"),
        ("it is fe80::1:2, 2001:db8::7.", "it is <address>, <address>."),
        ("at 07:00:00, 2026-11-24T07:00:00Z", "at 07:00:00, 2026-11-24T07:00:00Z"),
        ("Python 3.11.7, kernel 6.18.44-fc", "Python 3.11.7, kernel 6.18.44-fc"),
        ("/home/max/data and /home/erika", "/home/<user>/data and ~"),
        ("PUMPE.fritz.box and pumpe.fritz.boxen", "<host> and pumpe.fritz.boxen"),
        ("device-pumpe.fritz.box-8889.lock", "device-<host>-8889.lock"),
        ("/srv/erika/cache, erikasson", "/srv/<user>/cache, erikasson"),
    ],
)
def test_texts_are_cleaned_of_addresses_and_names_but_not_of_times_and_versions(
    tmp_path, text, expected
):
    settings = configured(tmp_path, host="pumpe.fritz.box")
    clean = bundle.cleaner(settings, {"HOME": "/home/erika", "USER": "erika"})
    assert clean(text) == expected


def test_private_are_all_registers_that_the_catalogue_calls_addresses_passwords_and_serials():
    telling = ("serial number", "password digit", "address", "subnet", "broadcast", "gateway")
    for entry in sensors.catalogue():
        told = any(word in entry.name.lower() for word in telling) or entry.kind == "address"
        if told and entry.group != "visibilities":
            assert entry.index in PRIVATE[entry.group], entry
