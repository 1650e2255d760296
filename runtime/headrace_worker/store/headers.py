"""What a server tells of an object's content in its headers. Pure.

- S3: `x-amz-checksum-<algorithm>`, of the whole object where it has no `-<parts>` at its end; since the end of 2024 S3
  makes a CRC64NVME of every object for which nothing is given. With a key of the owner's, the ETag is no hash.
- Google Cloud Storage: `x-goog-hash: crc32c=...,md5=...`; composite objects have no MD5.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping

_AMZ = (("crc64nvme", 8), ("crc32c", 4), ("crc32", 4), ("sha256", 32))
"""Those that are compared, the cheapest first, and their bytes."""
_GOOG = (("crc32c", 4), ("md5", 16))
_KEYS_OF_THE_OWNER = ("aws:kms", "aws:kms:dsse")


def checksum(headers: Mapping[str, str]) -> str:
    """See `RemoteFile.checksum`; header names in lower case."""
    told = next(_told(headers), "")
    if told:
        return told
    encrypted = (
        headers.get("x-amz-server-side-encryption") in _KEYS_OF_THE_OWNER
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )
    return "none:" if encrypted else ""


def _told(headers: Mapping[str, str]) -> Iterator[str]:
    goog = dict(re.findall(r"(\w+)=([A-Za-z0-9+/=]+)", headers.get("x-goog-hash", "")))
    amz = {name: headers.get(f"x-amz-checksum-{name}", "") for name, _ in _AMZ}
    for found, known in ((amz, _AMZ), (goog, _GOOG)):
        for name, width in known:
            digest = _base64(found.get(name, ""))
            if len(digest) == width:
                yield f"{name}:{digest.hex()}"


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:  # a hash of parts, `<base64>-<number>`, among others
        return b""
