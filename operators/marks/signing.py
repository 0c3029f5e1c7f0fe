"""A certificate chain and its private key, checked for what Content Credentials need (C2PA 2.2, 14.5 and 14.6)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from operators.errors import CertificateError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_PURPOSES = {
    "1.3.6.1.5.5.7.3.4",  # email protection
    "1.3.6.1.5.5.7.3.36",  # document signing
    "1.3.6.1.4.1.62558.2.1",  # C2PA claim signing
}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_INSTALL = "signing needs a package that isn't installed: pip install 'latentmill[c2pa]'"


@dataclass(frozen=True)
class Chain:
    """Certificates from the signer's to one below the root's, as PEM, and the algorithm that they sign with."""

    pem: bytes
    algorithm: str


def read_chain(path: str) -> Chain:
    """Read certificates, the signer's first.

    Raises:
        CertificateError: there are none, one is not valid now, or the first can't sign pictures.
    """
    try:
        from cryptography.x509 import load_pem_x509_certificates
    except ImportError as error:
        raise CertificateError(_INSTALL) from error
    pem = _read(path, "certificate")
    try:
        certificates = load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateError(f"{path} holds no certificates in PEM", "mark.certificate") from error
    for fault in _faults(certificates, datetime.now(UTC)):
        raise CertificateError(f"{path}: {fault}", "mark.certificate")
    return Chain(pem, _algorithm(certificates[0]))


def read_key(chain: Chain, path: str | None, variable: str | None) -> bytes:
    """The private key of a chain's first certificate, as PKCS #8 in PEM, from a file or a variable of the environment.

    Raises:
        CertificateError: it can't be read, or is another certificate's.
    """
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
    )
    from cryptography.x509 import load_pem_x509_certificate

    name, where = (f"the variable {variable}", "mark.key_variable") if path is None else (path, "mark.key_file")
    text = os.environ.get(variable or "", "").encode() if path is None else _read(path, "key_file")
    if not text:
        raise CertificateError(f"{name} is not set where the worker runs", where)
    try:
        key = load_pem_private_key(text, None)
    except TypeError:
        raise CertificateError(f"{name} holds a key under a password; give one without", where) from None
    except ValueError:
        raise CertificateError(f"{name} holds no private key in PEM", where) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    certified = load_pem_x509_certificate(chain.pem).public_key()
    if key.public_key().public_bytes(*form) != certified.public_bytes(*form):
        raise CertificateError(f"{name} holds the key of another certificate", where)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read(path: str, option: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} can't be read: {error.strerror}", f"mark.{option}") from error


def _faults(certificates: list[Certificate], now: datetime) -> list[str]:
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound, KeyUsage

    for certificate in certificates:
        name = certificate.subject.rfc4514_string()
        if certificate.not_valid_after_utc < now:
            return [f"the certificate of {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"]
        if certificate.not_valid_before_utc > now:
            return [f"the certificate of {name} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"]
    first = certificates[0]
    if first.issuer == first.subject:
        return ["the first certificate is signed by itself; put the signer's first, and its issuers' after it"]
    try:
        signs = first.extensions.get_extension_for_class(KeyUsage).value.digital_signature
        purposes = {usage.dotted_string for usage in first.extensions.get_extension_for_class(ExtendedKeyUsage).value}
    except ExtensionNotFound:
        return ["the first certificate doesn't say what its key may be used for"]
    if not signs or not purposes & _PURPOSES:
        return ["the first certificate's key may not sign pictures: that takes the key usage digitalSignature, and the"
                " extended one emailProtection or documentSigning"]  # fmt: skip
    return []


def _algorithm(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match certificate.public_key():
        case ec.EllipticCurvePublicKey(curve=curve) if curve.name in _CURVES:
            return _CURVES[curve.name]
        case rsa.RSAPublicKey():
            return "ps256"
        case ed25519.Ed25519PublicKey():
            return "ed25519"
    raise CertificateError("the key is none of P-256, P-384, P-521, RSA and Ed25519", "mark.certificate")
