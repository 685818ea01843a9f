"""
What the process holds for good is not looked through again and again for garbage.

The modules alone are a hundred thousand objects, and the runs that a process knows are some more for each:
a full collection goes through all of them, and nothing else happens meanwhile. The collector goes by
how much there is more than after its last round, and sees none of what was kept: what a thousand runs add
in a burst would have been gone through a dozen times, for a tenth of a second each. So whatever is no longer
young is gone through here, when nobody waits.
"""

import gc
from collections.abc import Awaitable, Callable
from typing import Final

from remediator.ports import Clock

ROUNDS: Final = (5_000, 2**31 - 1, 2**31 - 1)
"""
A young round after so many new containers, and no other by itself.

A container that stays takes a round a microsecond. An older round after ten young ones took 60 ms in a
burst and freed two dozen: nearly all garbage is gone without any, by its counted references.
"""

EVERY_SECONDS: Final = 300.0
PATIENCE_SECONDS: Final = 3_000.0
"""How long a full round waits for a lull; what it would free is some hundred objects for each minute of a burst."""

MANY: Final = 50_000
"""Where a full round leaves more containers, they are passed over from then on: the next would take as long again."""


def keep_for_good() -> None:
    """Garbage is gone; everything that is left is passed over by all later rounds, which are rarer from here on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*ROUNDS)


async def collect_in_lulls(clock: Clock, lull: Callable[[float], Awaitable[None]]) -> None:
    """A full round from time to time, for ever; `lull` waits for a better moment, for at most so many seconds."""
    while True:
        await clock.sleep(EVERY_SECONDS)
        await lull(PATIENCE_SECONDS)
        gc.collect()
        if len(gc.get_objects(generation=2)) > MANY:
            gc.freeze()
