"""Requests that offer to change the protocol, as HTTP clients do for HTTP/2. The service ignores the offer (RFC 9110, 7.8)."""

from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class NoUpgradeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which answers a request with `Connection: Upgrade` as if it had none.

    The parser takes the bytes after the headers of such a request for those of another protocol. It therefore gets the headers
    again, without the offer, and then the body.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)

    def on_headers_complete(self) -> None:
        if not self.offers_upgrade():
            super().on_headers_complete()
            if self.parser.should_upgrade():  # CONNECT: the bytes that follow are no requests
                self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        if not self.offers_upgrade():
            super().on_message_complete()

    def offers_upgrade(self) -> bool:
        """Check whether the current request has an offer that can be ignored."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def head_without_offer(self) -> bytes:
        """Return the request line and the headers of the current request, without the header `Upgrade`."""
        start = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([start, *fields, b"", b""])


class _Parser(HttpRequestParser):
    """httptools' parser, which starts again at a request with an offer."""

    def __init__(self, protocol: NoUpgradeProtocol):
        self._protocol = protocol
        self._restart()

    def _restart(self) -> None:
        super().__init__(self._protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's

    def feed_data(self, data: Any) -> None:
        rest = memoryview(data)
        while True:
            try:
                return super().feed_data(rest)
            except HttpParserUpgrade as upgrade:
                if not self._protocol.offers_upgrade():
                    return None
                rest, head = rest[upgrade.args[0] :], self._protocol.head_without_offer()
            self._restart()
            super().feed_data(head)
