"""Count the open browser sessions, and drop closed ones together with their images."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from streamlit import runtime
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

from ui.metrics import SESSIONS

SWEEP_INTERVAL_SECONDS = 5
logger = logging.getLogger("ui")


@contextlib.asynccontextmanager
async def expire_sessions(_: object) -> AsyncIterator[None]:
    """Drop expired sessions while the server's event loop runs.

    Streamlit keeps a closed session for the seconds of its option `server.disconnectedSessionTTL`, but drops it only when another
    session closes. Without this, the last user's images would stay in memory until the next user leaves.
    """
    manager = runtime.get_instance()._session_mgr
    assert isinstance(manager, WebsocketSessionManager)
    SESSIONS.set_function(manager.num_active_sessions)
    sweeping = asyncio.create_task(_sweep(manager))
    try:
        yield
    finally:
        sweeping.cancel()


async def _sweep(manager: WebsocketSessionManager) -> None:
    storage = manager._session_storage
    assert isinstance(storage, MemorySessionStorage)
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_SECONDS)
        for _, info in storage._cache.expire():  # type: ignore[attr-defined]
            try:
                info.session.shutdown()
            except Exception as error:  # one session's failure must not keep the others in memory
                logger.error("a closed session could not be dropped: %s", type(error).__name__)
