"""
LocalClusterError
├── NotAvailable     this machine lacks something; the sentence says what, and a test skips with it
├── CommandFailed    a program that we ran said no; carries what it said
├── NotRunning       there is no cluster of that name
└── StartFailed      a server did not come up; carries the end of its log
"""


class LocalClusterError(Exception):
    """Anything that a person running a local cluster has to know of."""


class NotAvailable(LocalClusterError):
    """This machine cannot do what was asked; the message is one sentence that says what is missing."""


class CommandFailed(LocalClusterError):
    """A program ended with an exit code other than 0."""

    def __init__(self, command: str, code: int, stderr: str) -> None:
        super().__init__(f"{command} ended with exit code {code}: {stderr.strip()}")
        self.code = code
        self.stderr = stderr


class NotRunning(LocalClusterError):
    """No cluster of that name is running."""


class StartFailed(LocalClusterError):
    """A server ended, or did not answer, while it was starting; the message ends with its log."""

    @property
    def port_was_taken(self) -> bool:
        """True when another try with another port may do."""
        return "address already in use" in str(self)

    @property
    def is_a_crash_of_kwok(self) -> bool:
        """True when kwok met two objects at once before it was prepared, and died of it."""
        return str(self).startswith("kwok ended")
