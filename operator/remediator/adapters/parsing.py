"""Reading what others have answered, so that a long answer holds nobody up."""

import asyncio
import json

from remediator.domain.json import JSON, parsed_in_turns


async def parsed(content: bytes, *, long_bytes: int) -> JSON:
    """
    The JSON; a long one is read in a thread, which takes twice as long and lets others go on.

    Raises ValueError and RecursionError.
    """
    if len(content) <= long_bytes:
        short: JSON = json.loads(content)
        return short
    return await asyncio.to_thread(parsed_in_turns, content.decode())
