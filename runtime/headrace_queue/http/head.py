"""Reads the head of an HTTP request with httptools (llhttp, the parser of Node)."""

import httptools
from httptools import HttpRequestParser

from headrace_queue.errors import bad_http

_WANTED = frozenset({
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"expect",
    b"transfer-encoding",
    b"x-headrace-deadline-seconds",
    b"x-headrace-hosting",
    b"x-headrace-priority",
    b"x-headrace-tags",
    b"x-request-id",
})  # fmt: skip


class Head:
    """What the queue looks at of a request's head; the callbacks are httptools', also for a body in chunks."""

    __slots__ = ("_whole", "again", "ended", "fields", "http10", "keep_alive", "length", "method", "parts", "target")

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        """As it came: a path with its query; from some proxies an absolute URL."""
        self.fields: dict[bytes, bytes] = {}
        """The wanted header fields, their names in lower case; what came more than once is joined by commas."""
        self.length: int | None = 0
        """Bytes of the body; None where they come in chunks."""
        self.keep_alive = True
        self.http10 = False
        self.parts: list[bytes] = []
        """Of a body in chunks, what has come."""
        self.ended = False
        """Whether a request without body, or with one in chunks, is whole."""
        self.again = False
        """Whether another request began in the bytes behind it."""
        self._whole = False

    def on_message_begin(self) -> None:
        """A request begins."""
        self.again = self.ended or self.again

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        if not self._whole:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field; those behind the body (trailers) are not looked at."""
        key = name.lower()
        if key in _WANTED and not self._whole:
            before = self.fields.get(key)
            self.fields[key] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._whole = True

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if not self.ended:
            self.parts.append(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.ended = True

    def settle(self, parser: HttpRequestParser) -> None:
        """Draw the conclusions, once the parser has had all of the head.

        Raises:
            ApiError: 400, it is of another HTTP.
        """
        self.method = parser.get_method().decode()
        version = parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            raise bad_http(f"its version is {version}")
        self.http10 = version == "1.0"
        fields = self.fields
        if fields:
            connection = fields.get(b"connection", b"").lower()
            self.keep_alive = b"keep-alive" in connection if self.http10 else b"close" not in connection
            chunked = b"transfer-encoding" in fields
            self.length = None if chunked else int(fields.get(b"content-length", b"0"))
        else:
            self.keep_alive = not self.http10

    @property
    def path(self) -> bytes:
        """The target's path, without its query, still percent-encoded."""
        if self.target.startswith(b"/"):
            return self.target.partition(b"?")[0]
        try:
            return httptools.parse_url(self.target).path or b"/"
        except httptools.HttpParserInvalidURLError:
            return b""


def read_head(data: bytes, head: Head) -> HttpRequestParser:
    """Fill `head` from its bytes, which end with its empty line. Returns the parser, for a body in chunks.

    Raises:
        ApiError: 400, these are not the head of an HTTP/1 request.
    """
    parser = HttpRequestParser(head)
    try:
        parser.feed_data(data)
        head.settle(parser)
    except httptools.HttpParserUpgrade:
        head.settle(parser)
    except httptools.HttpParserError as error:
        raise bad_http(str(error)) from None
    if not head.target:
        raise bad_http("the request has no head")
    return parser
