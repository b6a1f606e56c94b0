"""The device's own certificate: made, kept, renewed in time, and never at the price of the people's trust."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged import durable
from edged.errors import ConfigError
from edged.tls.authority import LEAF_LIFE
from edged.tls.device import AUTHORITY_FILE, DEVICE_FILE, DeviceCertificate, Leaf, reason_to_renew
from edged.tls.names import Names, names_of

NOW = datetime(2027, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Device:
    """A device with a clock, names and a folder that a test turns."""

    folder: Path
    now: datetime = NOW
    called: list[str] = field(default_factory=lambda: ["kitchen", "kitchen.local"])
    found: list[str] = field(default_factory=lambda: ["192.168.1.5"])

    def started(self) -> DeviceCertificate:
        certificate = DeviceCertificate(self.folder, self.names, lambda: self.now)
        assert certificate.refreshed() is not None
        return certificate

    def names(self) -> Names:
        return names_of(self.called, self.found)

    def files(self) -> dict[str, str]:
        return {file.name: file.read_text() for file in self.folder.iterdir()}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "state" / "tls")


def test_the_first_boot_makes_both_and_they_are_their_owners_alone(device: Device) -> None:
    facts = device.started().facts()

    assert set(device.files()) == {AUTHORITY_FILE, DEVICE_FILE}
    assert {stat.S_IMODE(file.stat().st_mode) for file in device.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(device.folder.stat().st_mode) == 0o700
    assert facts.names == ("kitchen", "kitchen.local", "localhost", "127.0.0.1", "::1", "192.168.1.5")
    assert facts.authority is not None
    assert facts.left_out == ()


def test_a_restart_changes_nothing(device: Device) -> None:
    facts, files = device.started().facts(), device.files()

    assert (device.started().facts(), device.files()) == (facts, files)


def test_while_nothing_changes_nothing_is_made(device: Device) -> None:
    certificate, files = device.started(), device.files()
    device.now += LEAF_LIFE / 2

    assert certificate.refreshed() is None
    assert device.files() == files


def test_it_is_renewed_when_a_third_of_its_life_is_left_and_the_authority_stays(device: Device) -> None:
    certificate, files = device.started(), device.files()
    ends = certificate.facts().ends
    device.now = ends - LEAF_LIFE / 3 - DAY
    assert certificate.refreshed() is None
    device.now += DAY

    assert certificate.refreshed() is not None
    assert certificate.facts().ends > ends
    assert device.files()[AUTHORITY_FILE] == files[AUTHORITY_FILE]
    assert device.files()[DEVICE_FILE] != files[DEVICE_FILE]
    assert certificate.refreshed() is None


def test_one_that_ended_while_the_plug_was_pulled_is_renewed_at_the_start(device: Device) -> None:
    device.started()
    device.now += 5 * 365 * DAY

    assert device.started().facts().ends > device.now


def test_a_new_address_or_a_name_that_the_authority_knows_is_in_the_next_one(device: Device) -> None:
    certificate = device.started()
    device.found.append("10.0.0.9")
    assert certificate.refreshed() is not None
    assert "10.0.0.9" in certificate.facts().names

    device.called.append("sub.kitchen.local")
    assert certificate.refreshed() is not None
    assert "sub.kitchen.local" in certificate.facts().names


def test_an_address_that_goes_is_no_reason(device: Device) -> None:
    certificate = device.started()
    device.found.clear()

    assert certificate.refreshed() is None


def test_a_name_that_the_authority_was_not_made_for_is_left_out_and_told_once(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = device.started()
    device.called = ["cellar", "cellar.local", "kitchen.local"]

    for _ in range(2):
        certificate.refreshed()

    assert certificate.facts().left_out == ("cellar", "cellar.local")
    assert "cellar" not in certificate.facts().names
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "cellar cellar.local" in told
    assert str(device.folder) in told


def test_a_clock_from_before_this_was_written_counts_as_later(device: Device) -> None:
    device.now = datetime(1970, 1, 1, tzinfo=UTC)
    certificate = device.started()
    assert certificate.facts().ends > datetime(2027, 6, 1, tzinfo=UTC)
    device.now = NOW

    assert certificate.refreshed() is None, "what it made then is good now"


def test_a_clock_that_ran_ahead_does_no_lasting_harm(device: Device) -> None:
    device.now = NOW + 1000 * DAY
    certificate, authority = device.started(), device.files()[AUTHORITY_FILE]
    device.now = NOW

    assert certificate.refreshed() is not None
    assert certificate.facts().ends < NOW + LEAF_LIFE
    assert device.files()[AUTHORITY_FILE] == authority


def test_after_the_authoritys_ten_years_the_device_still_starts(device: Device) -> None:
    device.started()
    device.now += 4000 * DAY

    facts = device.started().facts()
    assert facts.authority is not None
    assert facts.authority.ends < device.now < facts.ends


@pytest.mark.parametrize("text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_certificate_is_made_anew(device: Device, text: str) -> None:
    authority = device.started().facts().authority
    durable.write(device.folder / DEVICE_FILE, text)

    assert device.started().facts().authority == authority


def test_anothers_certificate_is_not_shown(device: Device, tmp_path: Path) -> None:
    other = Device(tmp_path / "other")
    other.started()
    device.started()
    durable.write(device.folder / DEVICE_FILE, other.files()[DEVICE_FILE])
    device.started()

    assert device.files()[DEVICE_FILE] != other.files()[DEVICE_FILE]


def test_a_damaged_authority_is_put_aside_and_everybody_is_told(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    before = device.started().facts().authority
    damaged = device.files()[AUTHORITY_FILE][:-200]
    durable.write(device.folder / AUTHORITY_FILE, damaged)
    after = device.started().facts().authority

    assert before is not None
    assert after is not None
    assert before.fingerprint != after.fingerprint
    assert device.files()[f"{AUTHORITY_FILE}.damaged"] == damaged
    assert "edged trust" in caplog.text


@pytest.mark.parametrize("file", [AUTHORITY_FILE, DEVICE_FILE])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_get_at_is_refused_with_what_to_type(device: Device, file: str, mode: int) -> None:
    device.started()
    (device.folder / file).chmod(mode)

    with pytest.raises(ConfigError) as refused:
        device.started()
    command = str(refused.value).rpartition(": ")[2]
    assert command == f"chmod 600 {device.folder / file}"
    (device.folder / file).chmod(0o600)
    device.started()


def test_a_disk_that_takes_nothing_costs_nothing_but_the_new_certificate(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, files = device.started(), device.files()
    device.found.append("10.0.0.9")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", full)
        with pytest.raises(OSError, match="No space"):
            certificate.refreshed()
    assert device.files() == files
    assert "10.0.0.9" not in certificate.facts().names

    assert certificate.refreshed() is not None
    assert "10.0.0.9" in certificate.facts().names


names = st.builds(
    names_of,
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
    st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), max_size=3),
)


@given(names, names, st.integers(0, 400), st.integers(-100, 500))
def test_what_was_just_made_needs_no_renewal_and_what_is_kept_is_good(
    old: Names, wanted: Names, life_days: int, age_days: int
) -> None:
    now = NOW + age_days * DAY
    leaf = Leaf(old, NOW, NOW + life_days * DAY)

    if not reason_to_renew(leaf, wanted, now):
        assert set(wanted.dns) <= set(old.dns)
        assert set(wanted.addresses) <= set(old.addresses)
        assert leaf.begins <= now < leaf.ends
    assert not reason_to_renew(Leaf(wanted, now - DAY, now + LEAF_LIFE), wanted, now)
    assert reason_to_renew(None, wanted, now)
