"""The limit on the size of a request's headers."""

from http import HTTPStatus

import orjson

from serving.upgrade import NoUpgradeProtocol

MAX_HEADER_BYTES = 64 * 1024


class HeaderLimitProtocol(NoUpgradeProtocol):
    """uvicorn's HTTP protocol with a limit on the request line and headers, and on chunk extensions and trailers."""

    _header_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._header_bytes += len(data)
        super().data_received(data)
        if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response(f"headers: expected at most {MAX_HEADER_BYTES:,} bytes")

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP."""
        self.send_error(400, "bad_request", msg)

    def send_error(self, status: int, code: str, message: str) -> None:
        """Send the error body of every route without a request, and close the connection."""
        body = orjson.dumps({"error": message, "code": code})
        status_line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
        head = (status_line, "content-type: application/json", f"content-length: {len(body)}", "connection: close")
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()

    def on_headers_complete(self) -> None:
        self._header_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._header_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._header_bytes = 0
        super().on_message_complete()
