"""A certificate chain of one's own, as anyone may make one to sign with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def chain(
    folder: Path,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    begins: datetime = NOW - timedelta(days=60),
    ends: datetime = NOW + timedelta(days=30),
    curve: ec.EllipticCurve | None = None,
) -> tuple[Path, Path]:
    """The files of a signer's certificate with its issuer's, and of the signer's key."""
    folder.mkdir(exist_ok=True)
    root_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(curve or ec.SECP256R1())
    root_name, name = _name("Root"), _name("Signer")
    authority = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _begun(root_name, root_name, root_key)
        .not_valid_before(NOW - timedelta(days=60))
        .not_valid_after(NOW + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(authority, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _begun(name, root_name, key)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    certificate, secret = folder / "chain.pem", folder / "key.pem"
    certificate.write_bytes(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, secret


def _name(common: str) -> x509.Name:
    names = {NameOID.ORGANIZATION_NAME: "Latentmill's tests", NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in names.items()])


def _begun(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
    )


def _usage(*given: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in given for usage in _USAGES})
