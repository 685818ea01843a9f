"""A child that Ctrl-C reaches, however the tests themselves were started."""

import signal


def hear_ctrl_c() -> None:
    """
    For `preexec_fn`: the child hears SIGINT.

    A shell without job control starts what runs in the background with SIGINT ignored, and children
    inherit that; Python then installs no handler of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
