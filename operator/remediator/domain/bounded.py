"""
Text that fits a byte budget, with the cut made visible.

Everything the operator stores has a size that was decided beforehand. A text that is longer ends
with how much is missing, so that nobody takes a part for the whole.
"""


def shorten(text: str, limit_bytes: int) -> str:
    """
    The text in at most `limit_bytes` of UTF-8, cut between characters.

    A cut text ends with `… (N bytes more)`, where N counts what was left out. A limit with no room
    for that mark cuts without one.
    """
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    # N has at most as many digits as the whole length, so one guess at the mark's size is enough.
    room = limit_bytes - len(_mark(len(encoded)).encode())
    if room < 0:
        return encoded[: max(limit_bytes, 0)].decode("utf-8", "ignore")
    kept = encoded[:room].decode("utf-8", "ignore")
    return kept + _mark(len(encoded) - len(kept.encode()))


def _mark(bytes_more: int) -> str:
    return f"… ({bytes_more} bytes more)"
