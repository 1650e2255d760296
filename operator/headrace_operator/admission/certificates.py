"""The webhook's certificate: made by the operator itself, or read from files that somebody else keeps current.

A certificate made here is its own trust anchor. There is no authority whose key could sign anything else, and the key
leaves the process only for the moment in which Python's ssl module, which reads nothing but files, loads it.
"""

import ssl
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=30)
RENEW_BEFORE = timedelta(days=10)
_CLOCK_SKEW = timedelta(minutes=5)
_KEPT = 8
"""Certificates that a bundle holds at most: of replicas that serve now, and of some that were."""


@dataclass(frozen=True)
class Pair:
    """A certificate (a chain, where it comes from files) and its key, as PEM."""

    certificate: bytes
    key: bytes

    @property
    def expires(self) -> datetime:
        """When the first certificate of the chain ends, in UTC."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc


def issue(host: str, now: datetime) -> Pair:
    """A new self-signed certificate for the server called `host`."""
    key = ec.generate_private_key(ec.SECP256R1())
    # the common name has at most 64 characters; what is checked is the alternative name
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "headrace admission webhook")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    # of several in a bundle, all with this name, the identifiers tell which one to check against
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(pem), secret)


def read(folder: Path) -> Pair:
    """The pair in a mounted Secret of the type kubernetes.io/tls.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: `tls.crt` holds no certificate.
    """
    pair = Pair((folder / "tls.crt").read_bytes(), (folder / "tls.key").read_bytes())
    _ = pair.expires
    return pair


def load(context: ssl.SSLContext, pair: Pair) -> None:
    """Let new connections of `context` use `pair`; those that are open keep what they began with.

    Raises:
        ssl.SSLError: certificate and key do not belong together, or one of them cannot be read.
    """
    with tempfile.NamedTemporaryFile() as file:  # readable by its owner only
        file.write(pair.key + b"\n" + pair.certificate)
        file.flush()
        # tried first: a pair that does not fit would leave half of itself in the context that serves
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name)
        context.load_cert_chain(file.name)


def bundle(present: bytes, mine: bytes, now: datetime) -> bytes:
    """The trust anchors of the webhook: `mine`, and of those present the newest that are still valid.

    Others' are kept because they may serve now: another replica, or the operator that this one takes over from.
    """
    own = x509.load_pem_x509_certificate(mine)
    others = [one for one in _readable(present) if one.not_valid_after_utc > now and one != own]
    others.sort(key=lambda one: one.not_valid_before_utc, reverse=True)
    kept = [own, *others[: _KEPT - 1]]
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in kept)


def holds(present: bytes, mine: bytes) -> bool:
    """Whether the bundle has `mine`."""
    return x509.load_pem_x509_certificate(mine) in _readable(present)


def _readable(pem: bytes) -> list[x509.Certificate]:
    """The certificates in a bundle; none when it is not one, for then it serves nobody."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []
