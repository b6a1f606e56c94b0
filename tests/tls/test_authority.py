"""The authority vouches for its own device and for nobody else: judged by OpenSSL's own command, as clients judge."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from edged.tls.authority import AUTHORITY_LIFE, Authority, expiry, fingerprint, names_in, read_pair
from edged.tls.names import Names, names_of

NOW = datetime.now(UTC)
OWN = names_of(["kitchen", "kitchen.local", "edged.local"], ["192.168.1.5", "fd00::7"])
# Apple's devices take no certificate that is valid for longer: support.apple.com/103769.
APPLES_MOST = timedelta(days=825)


def openssl(*words: str | Path) -> str:
    """What the command says, whether it agrees or not."""
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.made(OWN, NOW)


def judged(authority: Authority, folder: Path, dns: str = "", address: str = "", *options: str) -> str:
    """What OpenSSL says of a certificate for this name or address that the authority has signed."""
    names = Names((dns,), ()) if dns else Names(("kitchen",), (ip_address(address),))
    (folder / "ca.crt").write_text(authority.public_pem)
    (folder / "leaf.pem").write_text(authority.issue(names, NOW))
    asked = ("-verify_hostname", dns) if dns else ("-verify_ip", address)
    trusted = ("-CAfile", folder / "ca.crt", folder / "leaf.pem")
    return openssl("verify", "-x509_strict", "-purpose", "sslserver", *asked, *options, *trusted)


@pytest.mark.parametrize("name", ["kitchen", "kitchen.local", "edged.local", "localhost"])
def test_openssl_takes_its_own_names(name: str, authority: Authority, tmp_path: Path) -> None:
    assert judged(authority, tmp_path, name).strip().endswith(": OK")


@pytest.mark.parametrize("address", ["192.168.1.5", "10.1.2.3", "172.31.0.1", "169.254.7.7", "100.64.0.1", "fd00::7"])
def test_openssl_takes_private_addresses(address: str, authority: Authority, tmp_path: Path) -> None:
    assert judged(authority, tmp_path, address=address).strip().endswith(": OK")


@pytest.mark.parametrize("name", ["bank.example", "cellar.local", "local", "notkitchen", "kitchen.local.example"])
def test_openssl_refuses_other_names_although_they_are_signed(name: str, authority: Authority, tmp_path: Path) -> None:
    assert "permitted subtree violation" in judged(authority, tmp_path, name)


@pytest.mark.parametrize("address", ["203.0.113.9", "8.8.8.8", "172.32.0.1", "2001:db8::1"])
def test_openssl_refuses_public_addresses(address: str, authority: Authority, tmp_path: Path) -> None:
    assert "permitted subtree violation" in judged(authority, tmp_path, address=address)


def test_what_it_has_signed_signs_nothing_and_is_no_client(authority: Authority, tmp_path: Path) -> None:
    assert "unsuitable certificate purpose" in judged(authority, tmp_path, "kitchen", "", "-purpose", "sslclient")
    (tmp_path / "leaf.crt").write_text(openssl("x509", "-in", tmp_path / "leaf.pem"))
    key, sub, request = tmp_path / "key.pem", tmp_path / "sub.crt", tmp_path / "request.pem"
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=sub",
            "-keyout", key, "-out", request)  # fmt: skip
    openssl("x509", "-req", "-in", request, "-CA", tmp_path / "leaf.crt", "-CAkey", tmp_path / "leaf.pem", "-days", "9",
            "-out", sub)  # fmt: skip
    said = openssl("verify", "-CAfile", tmp_path / "ca.crt", "-untrusted", tmp_path / "leaf.crt", sub)
    assert "invalid CA certificate" in said


def test_it_holds_for_ten_years_and_for_clocks_that_lag_behind(authority: Authority) -> None:
    assert expiry(authority.certificate) == (NOW + AUTHORITY_LIFE).replace(microsecond=0)
    assert authority.certificate.not_valid_before_utc.year == 2020


def test_a_certificate_holds_below_a_year_from_now_and_began_before_now(authority: Authority) -> None:
    leaf, _ = read_pair(authority.issue(OWN, NOW).encode())

    assert leaf.not_valid_before_utc < NOW - timedelta(days=7)
    assert NOW + timedelta(days=300) < expiry(leaf) < NOW + timedelta(days=365)
    assert expiry(leaf) - leaf.not_valid_before_utc < APPLES_MOST
    assert names_in(leaf) == OWN


def test_every_certificate_has_a_key_of_its_own(authority: Authority) -> None:
    first, second = (read_pair(authority.issue(OWN, NOW).encode()) for _ in range(2))

    assert first[1].private_numbers() != second[1].private_numbers()
    assert first[0].serial_number != second[0].serial_number


def test_two_devices_of_one_name_are_two_authorities() -> None:
    first, second = Authority.made(OWN, NOW), Authority.made(OWN, NOW)

    assert first.certificate.subject != second.certificate.subject
    assert "kitchen" in first.certificate.subject.rfc4514_string()


def test_a_long_host_name_is_no_obstacle() -> None:
    names = names_of(["a" * 63, f"{'a' * 63}.local"], [])
    authority = Authority.made(names, NOW)

    read_pair(authority.issue(names, NOW).encode())[0].verify_directly_issued_by(authority.certificate)


def test_the_fingerprint_is_the_one_that_others_show(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(authority.public_pem)

    said = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", tmp_path / "ca.crt")
    assert said.strip().rpartition("=")[2] == fingerprint(authority.certificate)


def test_what_is_published_has_no_key(authority: Authority) -> None:
    assert "PRIVATE" in authority.pem
    assert "PRIVATE" not in authority.public_pem


def test_it_is_read_as_it_was_written(authority: Authority) -> None:
    again = Authority.read(authority.pem.encode())

    assert again.certificate == authority.certificate
    assert again.key.private_numbers() == authority.key.private_numbers()
    assert again.allowed(names_of(["new-name", "kitchen.local", "sub.kitchen.local"], [])).dns == (
        "kitchen.local", "sub.kitchen.local", "localhost",
    )  # fmt: skip


def test_half_of_it_or_somebody_elses_is_not_read(authority: Authority) -> None:
    other = Authority.made(OWN, NOW)
    key, certificate = authority.pem.split("-----BEGIN CERTIFICATE-----")
    parts = {
        "nothing": "",
        "no key": authority.public_pem,
        "no certificate": key,
        "cut": authority.pem[:-100],
        "another's key": other.pem.split("-----BEGIN CERTIFICATE-----")[0] + authority.public_pem,
        "a leaf": authority.issue(OWN, NOW),
    }
    assert certificate
    for text in parts.values():
        with pytest.raises(ValueError, match=r".+"):
            Authority.read(text.encode())


def test_it_is_restricted_in_words_that_nobody_may_overlook(authority: Authority) -> None:
    critical = {type(extension.value) for extension in authority.certificate.extensions if extension.critical}

    assert critical == {x509.BasicConstraints, x509.KeyUsage, x509.NameConstraints}
