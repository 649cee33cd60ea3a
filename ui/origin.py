"""The guard of the page's WebSocket: other sites cannot open it."""

import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1; before the handshake it is status 403
logger = logging.getLogger("ui")


class SameOrigin:
    """ASGI middleware that rejects a WebSocket whose Origin is not the Host of the request.

    Streamlit rejects it too, but first asks another site for this machine's public address, and waits for it on the event loop.
    A client without Origin is no browser and is accepted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            if headers.get("origin") not in (None, f"http://{host}", f"https://{host}"):
                logger.warning("a WebSocket was rejected: its Origin is another site's, or a proxy does not keep Host")
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
                return
        await self._app(scope, receive, send)
