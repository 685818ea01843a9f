"""Handing a message to the notifier, and what its answer means for the step."""

from datetime import timedelta
from typing import Final

from remediator.domain.bounded import shorten
from remediator.domain.errors import NotFound, Rejected, Unavailable
from remediator.domain.outcomes import Failed, Outcome, Running, Succeeded
from remediator.ports import Notifier

AGAIN: Final = timedelta(seconds=10)  # long enough for a paging service to shed load, short enough for a page
_SUBJECT_BYTES: Final = 200


async def send(notifier: Notifier, namespace: str, to: str, subject: str, body: str, *, key: str) -> Outcome:
    """
    Sent at least once: one that may not have arrived is sent again under the same key.

    A lost page is worse than two.
    """
    try:
        await notifier.send(namespace, to, shorten(subject, _SUBJECT_BYTES), body, key=key)
    except NotFound:
        return Failed(f"there is no receiver {to} for namespace {namespace}")
    except Rejected as error:
        return Failed(f"{to} refused the message: {error}")
    except Unavailable as error:
        return Running(f"{to} did not take the message yet: {error}", poll_after=AGAIN)
    return Succeeded(f"told {to}")
