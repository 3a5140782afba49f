"""The bundle of `diagnose`: all that a bug report needs, and nothing about who and where."""

import json
import platform
import re
import struct
import time
import zipfile
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path

import pytest
import yaml

from luxcli.diagnosis import bundle, diagnose
from luxcli.diagnosis.diagnose import Diagnosis
from luxcli.diagnosis.redaction import Redactor, known_names
from luxcli.diagnosis.sections import Section, info
from luxcli.model import GROUPS, MissedPoll, Snapshot
from luxcli.registers import catalogue
from luxcli.store.store import Store
from tests.support.builders import small
from tests.support.faulty_controller import Fault, FaultyController
from tests.support.scenario import configured

ADDRESS = struct.unpack(">i", bytes([192, 168, 178, 57]))[0]
SERIAL = (290311, 48879, 4711)
USER = "erika-mustermann"


def personal(snapshot: Snapshot) -> Snapshot:
    """A heat pump with addresses, a password and a serial number."""
    calculations, parameters = list(snapshot.calculations), list(snapshot.parameters)
    calculations[91:95] = [ADDRESS] * 4
    for index in catalogue.private("parameters") & set(range(len(parameters))):
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


def test_no_member_has_the_host_an_address_a_serial_number_or_a_name(invoke, tmp_path):
    home = tmp_path / USER
    with FaultyController(Fault(change=personal), profile="long") as pump:
        path = configuration(home / "heating", host="localhost", port=pump.port)
        assert invoke("poll-once", "-c", path, env=environment(home)).status == 0
        target = tmp_path / "report.zip"
        ran = invoke("diagnose", "-c", path, "--bundle", target, env=environment(home))
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


def test_it_holds_the_diagnosis_the_log_the_settings_and_the_raw_blocks(invoke, tmp_path):
    with FaultyController(Fault(change=personal)) as pump:
        path = configuration(tmp_path, host="127.0.0.1", port=pump.port)
        target = tmp_path / "report.zip"
        ran = invoke("diagnose", "-c", path, "--bundle", target, "--json")
    found = members(target)
    whole = json.loads(found["diagnose.json"])
    assert whole["status"] == json.loads(ran.stdout)["status"] == ran.status
    sent = personal(pump.snapshot)
    assert len(whole["registers"]) == sum(len(sent.block(group)) for group in GROUPS)
    raw = json.loads(found["snapshot.json"])
    for group in GROUPS:
        for index, (kept, value) in enumerate(zip(raw[group], sent.block(group), strict=True)):
            assert kept == (None if index in catalogue.private(group) else value), (group, index)
    assert json.loads(found["config.json"])["host"]["value"] == "<host>"
    assert json.loads(found["versions.json"])["versions"]["luxtronik"]
    assert "DEBUG port" in found["log.txt"]
    assert "DEBUG parameters: 1075 values" in found["log.txt"]
    assert ran.stderr == "", "the log on stderr stays at its level"


def test_an_unreachable_heat_pump_makes_a_bundle_as_well(invoke, tmp_path):
    path = configuration(tmp_path, host="erikas-pump.invalid")
    target = tmp_path / "report.zip"
    ran = invoke("diagnose", "-c", path, "--bundle", target)
    assert ran.status == 69
    found = members(target)
    assert json.loads(found["snapshot.json"]) is None
    assert "<host>:8889" in found["diagnose.json"]
    assert all("erikas-pump" not in text for text in found.values())
    assert "name resolution" in found["log.txt"]


def test_a_wrong_configuration_makes_one_without_the_host_it_gives(invoke, tmp_path):
    path = configuration(tmp_path, host="erikas pump", port="wrong")
    target = tmp_path / "report.zip"
    assert invoke("diagnose", "-c", path, "--bundle", target).status == 78
    found = members(target)
    section = json.loads(found["diagnose.json"])["sections"][0]
    assert [line["text"] for line in section["lines"]] == ["host", "port"]
    assert section["values"] == {"problems": ["host", "port"]}
    assert all("erikas" not in text and str(tmp_path) not in text for text in found.values())


def test_an_existing_file_is_left_alone_before_anything_is_done(invoke, tmp_path, simulator):
    target = tmp_path / "report.zip"
    target.write_bytes(b"mine")
    path = configuration(tmp_path, host="127.0.0.1", port=simulator.port)
    ran = invoke("diagnose", "-c", path, "--bundle", target)
    assert ran.status == 2
    assert "exists already; name another file" in ran.stderr
    assert target.read_bytes() == b"mine"
    assert simulator.connections == 0


def test_a_bundle_that_cannot_be_written_is_reported_after_the_diagnosis(invoke, tmp_path):
    path = configuration(tmp_path, host="127.0.0.1")
    ran = invoke("diagnose", "--offline", "-c", path, "--bundle", "/proc/report.zip")
    assert ran.status == 74
    assert "luxcli: /proc/report.zip: cannot be written" in ran.stderr
    assert "production checklist" in ran.stdout
    assert list(tmp_path.glob("*.tmp")) == []


def test_a_directory_that_is_not_there_is_not_made(invoke, tmp_path, simulator):
    path = configuration(tmp_path, host="127.0.0.1", port=simulator.port)
    ran = invoke("diagnose", "-c", path, "--bundle", tmp_path / "nowhere" / "report.zip")
    assert ran.status == 2
    assert f"luxcli: --bundle: {tmp_path / 'nowhere'}: is not a directory" in ran.stderr
    assert not (tmp_path / "nowhere").exists()
    assert simulator.connections == 0


@pytest.mark.parametrize("name", ["a" * 300 + ".zip", "b" * 300 + "/x.zip"])
def test_a_name_that_cannot_be_a_files_is_refused_in_one_line(invoke, tmp_path, name):
    path = configuration(tmp_path / "etc", cache_path=str(tmp_path / "data" / "cache.sqlite3"))
    ran = invoke("diagnose", "-c", path, "--offline", "--bundle", tmp_path / name)
    assert ran.status == 2
    [line] = ran.stderr.splitlines()
    assert line.startswith("luxcli: --bundle: ")
    assert "File name too long" in line


def test_a_link_that_leads_nowhere_is_not_replaced_by_a_bundle(invoke, tmp_path):
    path = configuration(tmp_path / "etc", cache_path=str(tmp_path / "data" / "cache.sqlite3"))
    link = tmp_path / "report.zip"
    link.symlink_to(tmp_path / "nowhere")
    assert invoke("diagnose", "-c", path, "--offline", "--bundle", link).status == 2
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


def test_a_bundle_that_cannot_be_written_leaves_one_json_object(invoke, tmp_path):
    path = configuration(tmp_path, host="127.0.0.1")
    ran = invoke("diagnose", "--offline", "--json", "-c", path, "--bundle", "/proc/report.zip")
    assert ran.status == 74
    found = json.loads(ran.stdout)
    assert found["bundle"] is None
    assert found["sections"]
    assert "/proc/report.zip: cannot be written" in ran.stderr


def test_names_in_directories_with_blanks_and_of_mounted_disks_are_replaced(invoke, tmp_path):
    home, disk = tmp_path / "hans meier", tmp_path / "media" / "hans meier" / "USB stick"
    reports = tmp_path / "srv" / "mueller" / "reports"
    for directory in (disk, reports):
        directory.mkdir(parents=True)
    places = {"cache_path": str(disk / "meier.sqlite3"), "output_dirs": str(reports)}
    env = {"HOME": str(home), "USER": "hans", "SUDO_USER": "karla"}
    with FaultyController() as pump:
        path = configuration(home / "karla", host="localhost", port=pump.port, **places)
        assert invoke("poll-once", "-c", path, env=env).status == 0
        assert invoke("rollup", "daily", "-c", path, env=env).status == 0
        target = tmp_path / "report.zip"
        ran = invoke("diagnose", "-c", path, "--bundle", target, env=env)
    assert ran.status in {0, 3}
    for name, text in members(target).items():
        for secret in ("hans", "meier", "mueller", "karla", "USB stick", str(tmp_path)):
            assert secret.lower() not in text.lower(), (name, secret)
    whole = members(target)["diagnose.json"]
    for place in ("<data>: can be written", "<daily>: can be written", "<data>/<database>: "):
        assert place in whole


def test_the_diagnosis_of_a_healthy_set_up_is_kept_whole(invoke, tmp_path):
    """A new key or word that `bundle` and `redaction` do not know shows here."""
    target = tmp_path / "report.zip"
    with FaultyController(profile="long") as pump:
        path = configuration(tmp_path, host="127.0.0.1", port=pump.port)
        invoke("poll-once", "-c", path)
        invoke("rollup", "all", "-c", path)
        ran = invoke("diagnose", "-c", path, "--json", "--bundle", target)
    found = json.loads(members(target)["diagnose.json"])
    assert found["left_out"] == 0
    assert "left out" not in members(target)["log.txt"]
    shown = json.loads(ran.stdout)
    for ours, kept in zip(shown["sections"], found["sections"], strict=True):
        assert ours["values"].keys() == kept["values"].keys()
        assert len(ours["lines"]) == len(kept["lines"])


OLD_HOST, OLD_HOME, TOKEN = "oldpump.mueller.lan", "/home/mueller", "s3cr3t-t0k3n"
IPV6 = "2001:db8:47::11"


def test_names_from_an_earlier_set_up_are_found_nowhere_in_the_bundle(invoke, tmp_path):
    url = f"https://{TOKEN}@hooks.mueller.example/{TOKEN}"
    path = configuration(
        tmp_path / "etc",
        host=IPV6,
        cache_path=str(tmp_path / "data" / "cache.sqlite3"),
        log_file=f"{OLD_HOME}/luxcli.log",
        csv={"sensors": "calculations"},
        monitoring={
            "healthchecks_url": url,
            "ntfy_token_file": f"{OLD_HOME}/token",
            "command": ["/usr/bin/curl", url, OLD_HOST],
            "ntfy_title": "Haus Mueller",
        },
    )
    store = Store(tmp_path / "data" / "cache.sqlite3")
    store.path.parent.mkdir()
    missed = f"{OLD_HOST}:8889: connect: refused; see {OLD_HOME}/notes or {url} or [{IPV6}]"
    now_ms = round(time.time() * 1000)
    store.add(now_ms - 7_200_000, small(now_ms - 7_200_000))
    store.add_missed(MissedPoll(now_ms - 1000, "network", 1, 95, missed))
    target = tmp_path / "report.zip"
    command = ("diagnose", "-c", path, "--offline", "--json", "--bundle", target)
    shown = invoke(*command, env={"HOME": "/home/erika"}).stdout
    assert all(secret in shown for secret in (OLD_HOST, OLD_HOME, IPV6, TOKEN))
    for name, text in members(target).items():
        for secret in (OLD_HOST, "mueller", IPV6, TOKEN, "erika", "curl", "hooks"):
            assert secret not in text.lower(), (name, secret)
    assert json.loads(members(target)["diagnose.json"])["left_out"] > 0


def test_log_lines_with_unknown_words_are_left_out_and_counted(tmp_path):
    planted = [
        f"2026-11-30T10:00:00Z ERROR {OLD_HOST}:8889: connect: refused",
        f"2026-11-30T10:00:00Z DEBUG it is {IPV6}.",
        f"2026-11-30T10:00:00Z WARNING {OLD_HOME}/cache.sqlite3: Permission denied",
        f"2026-11-30T10:00:00Z WARNING https://hc-ping.com/{TOKEN}/luxcli-poll",
        "2026-11-30T10:00:01Z DEBUG parameters: 1075 values",
    ]
    target = tmp_path / "report.zip"
    bundle.write(target, diagnosis(tmp_path), configured(tmp_path), planted, {})
    assert members(target)["log.txt"].splitlines() == [
        "2026-11-30T10:00:01Z DEBUG parameters: 1075 values",
        "(4 lines left out: they have words that luxcli does not use)",
    ]


def test_an_unknown_key_is_left_out_and_counted(tmp_path):
    section = Section("environment", (info("time zone UTC"),), (), {"zone": "UTC", "owner": 4711})
    target = tmp_path / "report.zip"
    found = Diagnosis(0, (section,), ())
    bundle.write(target, found, configured(tmp_path), [], {})
    kept = json.loads(members(target)["diagnose.json"])
    assert kept["sections"][0]["values"] == {"zone": "UTC"}
    assert kept["left_out"] == 1


def diagnosis(directory: Path) -> Diagnosis:
    settings = configured(directory)
    return diagnose.diagnose(settings, now_ms=0, zone=UTC, environ={}, offline=True)


def test_notification_settings_are_left_out(invoke, tmp_path):
    channels = {"command": ["mail", "erika@meier.example"], "ntfy_title": "Haus Meier"}
    path = configuration(tmp_path, host="127.0.0.1", monitoring=channels)
    target = tmp_path / "report.zip"
    invoke("diagnose", "--offline", "-c", path, "--bundle", target)
    for name, text in members(target).items():
        assert "meier" not in text.lower(), name


def test_of_a_wrong_configuration_only_the_keys_are_kept(invoke, tmp_path):
    path = tmp_path / "meier.yaml"
    path.write_text("host: 8889\nport: wp.meier.lan\nwp.meier.lan: 1\n", encoding="utf-8")
    target = tmp_path / "report.zip"
    assert invoke("diagnose", "-c", path, "--bundle", target).status == 78
    for name, text in members(target).items():
        assert "meier" not in text, name
    [section, _] = json.loads(members(target)["diagnose.json"])["sections"]
    assert {line["text"] for line in section["lines"]} >= {"port", "not a setting"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at /media/hans meier/USB: local", "at <data>: local"),
        ("/media/hans meier/USB/heat.sqlite3: 3 MB", "<data>/<database>: 3 MB"),
        ("/media/hans meier/USB/reports/daily: there", "<daily>: there"),
        ("/media/hans meier/USB/my dear files/x: y", None),
        ("file /home/hans meier/my luxcli.yaml", None),
        ("failed: /old disk/meier, h./x.csv: full", None),
        ("<data>/2027-01-15_daily.csv: 2880 rows", "<data>/2027-01-15_daily.csv: 2880 rows"),
        ("kept by Hans since", "kept by <user> since"),
        ("file system ext4 at /: local, 3 l/h", "file system ext4 at /: local, 3 l/h"),
        ("10.0.0.7:8889: connect", None),
        ("it is fe80::1:2, 2001:db8::7.", None),
        ("at 07:00:00, 2026-11-24T07:00:00Z", "at 07:00:00, 2026-11-24T07:00:00Z"),
        ("Python 3.11.7 and V3.91.0", "Python 3.11.7 and V3.91.0"),
        ("not in /home/max/data: local", None),
        ("PUMPE.fritz.box and local", "<host> and local"),
        ("pumpe.fritz.boxen and local", None),
        ("device-pumpe.fritz.box-8889.lock", "device-<host>-8889.lock"),
        ("old-pump.lan:8889: connect", None),
        ("of another heat pump (old-pump.lan); give", None),
        ("192.168.1.50:8889: connect", None),
        ("-20..45 °C, 99.5 %, 12 of 30", "-20..45 °C, 99.5 %, 12 of 30"),
    ],
)
def test_a_text_is_kept_if_every_word_is_known(tmp_path, text, expected):
    settings = configured(
        tmp_path, host="pumpe.fritz.box", cache_path="/media/hans meier/USB/heat.sqlite3"
    )
    environ = {"HOME": "/home/hans meier", "USER": "hans", "SUDO_USER": "karl"}
    redactor = Redactor(known_names(settings, (), environ), ["3.11.7", "V3.91.0", "ext4"])
    assert redactor.text(text) == expected
    assert redactor.left_out == (expected is None)


def test_private_are_all_registers_that_the_catalogue_calls_addresses_passwords_and_serials():
    private = ("serial number", "password digit", "address", "subnet", "broadcast", "gateway")
    for entry in catalogue.catalogue():
        is_private = any(word in entry.name.lower() for word in private) or entry.kind == "address"
        if is_private and entry.group != "visibilities":
            assert entry.index in catalogue.private(entry.group), entry
