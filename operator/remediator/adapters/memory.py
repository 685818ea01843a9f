"""
What the process holds for good is not looked through again and again for garbage.

The modules alone are a hundred thousand objects, and the runs that a process knows are some more for each:
a full collection goes through all of them, and nothing else happens meanwhile.
"""

import gc


def keep_for_good() -> None:
    """Garbage is gone, and everything that is left is passed over by all later collections."""
    gc.collect()
    gc.freeze()
