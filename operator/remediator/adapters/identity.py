"""The name of one process among replicas."""

import secrets
import socket


def identity(replica: str) -> str:
    """The replica's name and chance: a process that was started again in the same pod is another one."""
    return f"{replica or socket.gethostname()}_{secrets.token_hex(4)}"
