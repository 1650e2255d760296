"""TLS to the queue: whom the worker trusts, and the certificate that it shows itself."""

import ssl
from pathlib import Path


class TlsError(ValueError):
    """A certificate, or its key, cannot be used; the message names the file."""


def context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What connections to the queue use; None where nothing is set: then the system's authorities are trusted.

    `ca` alone is trusted where it is given: a PEM file of one or more certificates. `certificate` is a PEM file with
    the worker's own and its chain, for a proxy in front of the queue that asks for one; its key may be in that file.

    Raises:
        TlsError: a file cannot be read, is no PEM, or the key is another certificate's.
    """
    if key and not certificate:
        raise TlsError("HEADRACE_QUEUE_KEY_FILE is of no use without HEADRACE_QUEUE_CERT_FILE")
    if not ca and not certificate:
        return None
    try:
        made = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"HEADRACE_QUEUE_CA_FILE: {str(ca)!r} cannot be used: {error}") from error
    if certificate:
        try:
            made.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            files = f"{str(certificate)!r}, key {str(key or certificate)!r}"
            raise TlsError(f"HEADRACE_QUEUE_CERT_FILE: {files} cannot be used: {error}") from error
    return made
