"""Asks a queue over HTTP, for people who have a key and no cluster."""

import json
import urllib.error
import urllib.request

from headrace_cli.errors import Trouble

_PATIENCE_S = 60


def text(url: str, key: str | None) -> str:
    """What a GET of `url` answers; `key` goes into the header `Authorization`.

    Raises:
        Trouble: the server does not answer, or refuses; the message is its own.
    """
    if not url.startswith(("http://", "https://")):
        raise Trouble(f"the queue's URL is {url!r}: it must begin with http:// or https://")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - it is checked above
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise Trouble(f"the queue answers {error.code}: {_message(error.read())}") from None
    except (OSError, ValueError) as error:
        raise Trouble(f"the queue cannot be asked at {url}: {getattr(error, 'reason', error)}") from None


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
