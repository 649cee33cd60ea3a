"""The pages that are open: counted, and forgotten with their images once they are closed."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from streamlit import runtime
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

from ui.metrics import SESSIONS

FORGET_SECONDS = 60  # in which a page that lost its connection finds its images again; slices.py says "about a minute"
SWEEP_SECONDS = 5
logger = logging.getLogger("ui")


@contextlib.asynccontextmanager
async def expire_sessions(_: object) -> AsyncIterator[None]:
    """Sweep on the server's event loop for as long as it runs.

    Streamlit keeps a closed session for `FORGET_SECONDS`, but drops it only when another one closes: the last reader's images
    would stay in memory for as long as nobody comes.
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
        await asyncio.sleep(SWEEP_SECONDS)
        for _, info in storage._cache.expire():  # type: ignore[attr-defined]
            try:
                info.session.shutdown()
            except Exception as error:  # whatever one session does, the others are forgotten in time
                logger.error("a closed page could not be forgotten: %s", type(error).__name__)
