"""The very end of the process, which nothing may keep from coming."""

import logging
import os
import threading
from typing import Final

log = logging.getLogger(__name__)

LEAVES_WITHIN_SECONDS: Final = 10.0
"""How long kopf has to end what is its own, once everything of ours has ended."""


def leave_surely(within_seconds: float = LEAVES_WITHIN_SECONDS) -> None:
    """
    The process ends within that time, then with 1 as its exit code, whatever anybody in it still waits for.

    A watcher of kopf's that meets an error which it does not know ends kopf, and then the others may wait for
    ever for a session that nobody opens any more, whatever signal comes.
    """
    leaving = threading.Timer(within_seconds, _leave)
    leaving.daemon = True
    leaving.start()


def _leave() -> None:
    log.critical("everything has ended but kopf, which is waited for no longer")
    logging.shutdown()
    os._exit(1)
