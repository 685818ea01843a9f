"""
What the process holds for good is not looked through again and again for garbage.

The modules alone are a hundred thousand objects, and the runs that a process knows are some more for each:
a full collection goes through all of them, and nothing else happens meanwhile. The collector goes by
how much there is more than after its last round, and sees none of what was kept: what a thousand runs add
in a burst would have been gone through a dozen times, for a tenth of a second each.
"""

import gc
from typing import Final

ROUNDS: Final = (10_000, 10, 50)
"""
A young round after so many new containers, an older one after ten of these, a full one after fifty of those.

A young round takes a millisecond. Nearly all garbage is gone without any, by its counted references.
"""


def keep_for_good() -> None:
    """Garbage is gone; everything that is left is passed over by all later collections, which are rarer from here on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*ROUNDS)
