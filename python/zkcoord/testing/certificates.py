"""Authorities, certificates and keys, made for a test: good ones, and those that nobody should accept.

This needs the package ``cryptography``, which the extra ``testing`` brings: ``pip install 'zkcoord[testing]'``.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from zkcoord.testing._security import Tls

__all__ = ["Authority"]

_DAY = datetime.timedelta(days=1)
_USAGES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


class Authority:
    """One who vouches for hosts. Its certificate is in the file `path`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        """Make the authority's key and certificate. All files go into the directory."""
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.path = directory / f"{name}.pem"
        certificate = self._certificate(self._name, self._key, (), is_authority=True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = ("127.0.0.1", "localhost"),
        *,
        days: tuple[int, int] = (-1, 1),
        self_signed: bool = False,
        password: str | None = None,
        curve: ec.EllipticCurve | None = None,
    ) -> tuple[Path, Path]:
        """Make a certificate that is valid for `days`, counted from now, and a key; the files they are in."""
        key = ec.generate_private_key(curve or ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._certificate(subject, key, hosts, days=days, self_signed=self_signed)
        certfile, keyfile = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        certfile.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        encryption = (
            serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        )
        keyfile.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return certfile, keyfile

    def server(self, name: str = "server", *, client_auth: bool = False, **certificate: Any) -> Tls:
        """Make what the servers of an ensemble show, for `zkcoord.testing.Ensemble`'s ``tls``.

        They accept the clients that this authority vouches for.
        """
        return Tls(*self.issue(name, **certificate), self.path, client_auth)

    def revoke(self, certfile: Path) -> Path:
        """Make a file with this authority's certificate and a list that revokes one of those that it issued."""
        now = datetime.datetime.now(datetime.timezone.utc)
        serial = x509.load_pem_x509_certificate(certfile.read_bytes()).serial_number
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - _DAY).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).add_revoked_certificate(revoked)
        builder = builder.last_update(now - _DAY).next_update(now + _DAY)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        listed = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        path = self._directory / f"without-{certfile.stem}.pem"
        path.write_bytes(self.path.read_bytes() + listed)
        return path

    def _certificate(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        hosts: Sequence[str],
        *,
        days: tuple[int, int] = (-1, 1),
        is_authority: bool = False,
        self_signed: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * _DAY)
            .not_valid_after(now + days[1] * _DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            names = x509.SubjectAlternativeName([_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        return builder.sign(key if self_signed else self._key, hashes.SHA256())


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
