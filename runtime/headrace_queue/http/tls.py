"""TLS for the public port, from files that may change: a certificate is renewed long before its program is."""

import ssl
from pathlib import Path

Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate and its key; `context` serves the newest pair that could be read.

    Raises:
        OSError: a file cannot be read, or (ssl.SSLError) they are not a certificate and its key in PEM.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._stamp = self._look()
        self.context = _context(*self._files)

    def renew(self) -> bool:
        """Read the files again if they have changed; whether they had. A pair that does not match changes nothing.

        Raises:
            OSError: as above; the next call tries again.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return False
        _context(*self._files)  # first into another context: half of a pair would spoil the one in use
        self.context.load_cert_chain(*self._files)
        self._stamp = stamp
        return True

    def _look(self) -> Stamp:
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in (file.stat() for file in self._files))


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context
