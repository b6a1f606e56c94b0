"""The authority of one device: what its people trust, and what signs the certificates that it shows them.

Whoever installs it trusts a key that lies on a small board. So it can vouch for nobody but this board: for its own
names, for addresses that every network has, and only as a server. That is written into it, and clients hold to it.

    made(names) ─▶ Authority ─▶ issue(names) ─▶ PEM: a fresh key and the certificate for it

Everything here is values and text; `device.py` keeps them. The numbers: RFC 5280 for the extensions; a server's
certificate below a private authority may be valid for 825 days at most where Apple's devices are to take it
(support.apple.com/103769).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edged.tls.names import PRIVATE, Address, Names

AUTHORITY_LIFE = timedelta(days=3652)
LEAF_LIFE = timedelta(days=365)
# A board without a battery wakes up with an old clock. Its people's clocks are right, and it may be asked with them.
_BACKDATED = timedelta(days=30)
_BEFORE_ALL_BOARDS = datetime.fromisoformat("2020-01-01T00:00:00+00:00")
_LONGEST_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that may sign others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def made(cls, names: Names, now: datetime) -> Authority:
        """A new one, for `names.dns` and what lies below them, for ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        # Two devices of one name must not look like one authority: clients look issuers up by their names.
        subject = _named(f"edged on {names.dns[0]}", identifier.digest.hex()[:6])
        builder = _begun(subject, subject, key, _BEFORE_ALL_BOARDS, now + AUTHORITY_LIFE)
        permitted: list[x509.GeneralName] = [*map(x509.DNSName, names.dns), *map(x509.IPAddress, PRIVATE)]
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.NameConstraints(permitted, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(identifier, critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def read(cls, pem: bytes) -> Authority:
        """What `pem` has written. Raises `ValueError` for anything that is not a whole authority."""
        certificate, key = read_pair(pem)
        authority = cls(certificate, key)
        if not authority.permitted:
            raise ValueError("it may sign for anybody, so it was not made here")
        return authority

    @property
    def pem(self) -> str:
        """Key and certificate, to be kept secret."""
        return _written(self.key, self.certificate)

    @property
    def public_pem(self) -> str:
        """The certificate alone, to be installed."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def permitted(self) -> Sequence[str]:
        """The names that it may vouch for, and for what lies below them."""
        try:
            constraints = self.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return ()
        return [name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)]

    def allowed(self, names: Names) -> Names:
        """What of `names` it may vouch for; of addresses all, since there are none but private ones."""
        kept = (name for name in names.dns if any(name == own or name.endswith(f".{own}") for own in self.permitted))
        return Names(tuple(kept), names.addresses)

    def issue(self, names: Names, now: datetime) -> str:
        """A fresh key and the certificate that it belongs to `names`, as PEM.

        It signs whatever it is told; clients refuse what it may not vouch for, and everything when its time is over.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        begins, ends = now - _BACKDATED, now - _BACKDATED + LEAF_LIFE
        builder = _begun(_named(f"edged on {names.dns[0]}"), self.certificate.subject, key, begins, ends)
        said: list[x509.GeneralName] = [*map(x509.DNSName, names.dns), *map(x509.IPAddress, names.addresses)]
        identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(said), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        return _written(key, builder.sign(self.key, hashes.SHA256()))


def read_pair(pem: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate and its key. Raises `ValueError` where one is missing or they do not belong together."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("key and certificate do not belong together")
    return certificate, key


def names_in(certificate: x509.Certificate) -> Names:
    """What a certificate is for; nothing where it does not say."""
    try:
        said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names((), ())
    addresses: list[Address] = [
        address
        for address in said.get_values_for_type(x509.IPAddress)
        if not isinstance(address, IPv4Network | IPv6Network)
    ]
    return Names(tuple(said.get_values_for_type(x509.DNSName)), tuple(addresses))


def expiry(certificate: x509.Certificate) -> datetime:
    """When a certificate ends."""
    return certificate.not_valid_after_utc


def fingerprint(certificate: x509.Certificate) -> str:
    """Its SHA-256 as people compare it: pairs of digits with colons between them."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _named(about: str, distinct: str = "") -> x509.Name:
    room = _LONGEST_COMMON_NAME - len(distinct) - 1
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{about[:room]} {distinct}".rstrip())])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _written(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> str:
    """Both in one text, so that one rename replaces both."""
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (secret + certificate.public_bytes(serialization.Encoding.PEM)).decode()
