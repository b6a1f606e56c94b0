"""A certificate that the owner brings: what is taken, what is refused with which words, and when it is read again."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edged.errors import ConfigError
from edged.tls.authority import Authority
from edged.tls.given import GivenCertificate
from edged.tls.names import names_of

NOW = datetime.now(UTC)
COMPANY = Authority.made(names_of(["box.example", "other.example"], []), NOW)
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def write(folder: Path, name: str, now: datetime = NOW) -> tuple[Path, Path]:
    """The company's certificate for a name, with its chain, and its key."""
    key, certificate = COMPANY.issue(names_of([name], []), now).split(_CERTIFICATE)
    (folder / "chain.pem").write_text(_CERTIFICATE + certificate + COMPANY.public_pem)
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_text(key)
    return folder / "chain.pem", folder / "key.pem"


def complaint(files: Sequence[Path]) -> str:
    with pytest.raises(ConfigError) as refused:
        GivenCertificate(*files).refreshed()
    return str(refused.value)


def test_a_certificate_with_its_chain_is_used(tmp_path: Path) -> None:
    given = GivenCertificate(*write(tmp_path, "box.example"))

    assert given.refreshed() is not None
    assert given.facts().names[0] == "box.example"
    assert given.facts().authority is None
    assert given.refreshed() is None


def test_both_may_be_in_one_file(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_text(COMPANY.issue(names_of(["box.example"], []), NOW))

    assert GivenCertificate(both, None).refreshed() is not None
    both.chmod(0o644)
    assert "chmod 600" in complaint((both, None))  # type: ignore[arg-type]


def test_what_replaces_it_is_read_and_half_a_pair_waits(tmp_path: Path) -> None:
    given = GivenCertificate(*write(tmp_path, "box.example"))
    given.refreshed()
    (tmp_path / "new").mkdir()
    chain, key = write(tmp_path / "new", "other.example")

    chain.replace(tmp_path / "chain.pem")
    with pytest.raises(ConfigError, match="is not the key of the certificate"):
        given.refreshed()
    assert given.facts().names[0] == "box.example"
    key.replace(tmp_path / "key.pem")

    assert given.refreshed() is not None
    assert given.facts().names[0] == "other.example"


def test_a_link_that_points_elsewhere_is_a_replacement(tmp_path: Path) -> None:
    for name in ("box.example", "other.example"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, name)
    (tmp_path / "live").symlink_to("box.example")
    given = GivenCertificate(tmp_path / "live/chain.pem", tmp_path / "live/key.pem")
    given.refreshed()
    (tmp_path / "live").unlink()
    (tmp_path / "live").symlink_to("other.example")

    assert given.refreshed() is not None
    assert given.facts().names[0] == "other.example"


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    chain, key = write(tmp_path, "box.example")
    (tmp_path / "other").mkdir()
    _, other = write(tmp_path / "other", "box.example")

    assert complaint((chain, other)) == f"[tls] key: {other} is not the key of the certificate {chain}."
    assert GivenCertificate(chain, key).refreshed() is not None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(mode: int, tmp_path: Path) -> None:
    chain, key = write(tmp_path, "box.example")
    spaced = key.rename(tmp_path / "my key.pem")
    spaced.chmod(mode)

    command = complaint((chain, spaced)).rpartition(": ")[2]
    subprocess.run(command, shell=True, check=True)

    assert GivenCertificate(chain, spaced).refreshed() is not None


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    chain, key = write(tmp_path, "box.example")
    locked = tmp_path / "locked.pem"
    locked.touch(mode=0o600)
    subprocess.run(["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", key, "-out", locked], check=True)

    assert f"{locked} is encrypted" in complaint((chain, locked))


def test_what_is_no_certificate_or_not_there_is_told(tmp_path: Path) -> None:
    chain, key = write(tmp_path, "box.example")

    assert f"{tmp_path / 'nowhere'}: No such file or directory" in complaint((tmp_path / "nowhere", key))
    assert f"{tmp_path / 'nowhere'}: No such file or directory" in complaint((chain, tmp_path / "nowhere"))
    chain.write_text("no PEM")
    assert f"{chain} and {key} cannot be used" in complaint((chain, key))


def test_one_that_has_ended_is_used_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = GivenCertificate(*write(tmp_path, "box.example", NOW - timedelta(days=700)))

    assert given.refreshed() is not None
    assert "has ended on" in caplog.text
