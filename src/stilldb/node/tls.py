"""The deployment's certificate authority, and the certificates of its instances (RFC 5280)."""

from __future__ import annotations

import datetime
import ipaddress
import os
import pathlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stilldb.util import files

_CA_YEARS = 20
_LEAF_DAYS = 365
_RENEW_BEFORE = datetime.timedelta(days=30)
_BACKDATE = datetime.timedelta(hours=1)  # clocks of clients may be behind


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "StillDB"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _pem_key(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_encipherment=False,  # the leaf's key is on a curve, which only signs
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


class Authority:
    """The CA in ``directory``: made at the first use, its key readable by its owner alone."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        files.make_directory(directory, 0o700, None)
        if not self.bundle.exists():
            self._make()
        self._certificate = x509.load_pem_x509_certificate(self.bundle.read_bytes())
        key = serialization.load_pem_private_key(self._key_path.read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError(f"{self._key_path} holds no RSA key")
        self._key = key

    @property
    def bundle(self) -> pathlib.Path:
        """What clients verify instances with (PEM)."""
        return self._directory / "ca-bundle.pem"

    @property
    def _key_path(self) -> pathlib.Path:
        return self._directory / "ca.key"

    def _make(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = _name(f"StillDB CA {os.urandom(4).hex()}")
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - _BACKDATE)
            .not_valid_after(_now() + datetime.timedelta(days=365 * _CA_YEARS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        files.write_durably(self._key_path, _pem_key(key), 0o600)
        # The bundle last: where it is, the key is too.
        files.write_durably(self.bundle, certificate.public_bytes(serialization.Encoding.PEM))

    def certificate(self, name: str, addresses: Sequence[str]) -> tuple[str, str]:
        """Paths of the certificate chain and the key of the instance ``name``; renewed when they no longer fit."""
        chain, key_path = self._chain(name), self._directory / f"{name}.key"
        if not _fits(chain, key_path, addresses):
            self._issue(name, addresses, chain, key_path)
        return str(chain), str(key_path)

    def valid_till(self, name: str) -> datetime.datetime | None:
        """When the certificate of the instance ``name`` ends; None when it has none."""
        try:
            content = self._chain(name).read_bytes()
        except FileNotFoundError:
            return None
        return x509.load_pem_x509_certificate(content).not_valid_after_utc

    def _chain(self, name: str) -> pathlib.Path:
        return self._directory / f"{name}.pem"

    def forget(self, name: str) -> None:
        """Remove the certificate and the key of an instance."""
        for ending in ("pem", "key"):
            (self._directory / f"{name}.{ending}").unlink(missing_ok=True)

    def _issue(
        self, name: str, addresses: Sequence[str], chain: pathlib.Path, key_path: pathlib.Path
    ) -> None:
        # A key on P-256 is made in a millisecond, where RSA keeps the first ping of a new cluster waiting for up to 300.
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
        issuer = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - _BACKDATE)
            .not_valid_after(_now() + datetime.timedelta(days=_LEAF_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        files.write_durably(key_path, _pem_key(key), 0o600)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        files.write_durably(chain, pem + self.bundle.read_bytes())


def _fits(chain: pathlib.Path, key_path: pathlib.Path, addresses: Sequence[str]) -> bool:
    if not chain.exists() or not key_path.exists():
        return False
    leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    if leaf.not_valid_after_utc - _now() < _RENEW_BEFORE:
        return False
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(a) for a in names.get_values_for_type(x509.IPAddress)} == set(addresses)
