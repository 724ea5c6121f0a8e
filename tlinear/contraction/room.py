"""Memory that the C library keeps for the next call instead of giving it back to the system.

Fresh memory costs the kernel a page fault for every 4 KiB, which is as long as computing with it
takes.  glibc gives back what is freed at the end of its heap beyond twice the largest block that it
has ever mapped and seen freed again, at first 128 KiB (``mallopt(3)``, ``M_MMAP_THRESHOLD``), so that
a layer whose arrays are each smaller than what they take together pays for all of them in each call.
"""

from __future__ import annotations

import numpy as np

__all__ = ["keep_room"]

_MOST_KEPT = (1 << 25) - (1 << 16)
"""Beyond 32 MiB glibc maps every block anew, whatever has been freed."""


def keep_room(n_bytes: int) -> None:
    """Have a C library that learns from what is freed keep this much; elsewhere it does nothing.

    Examples
    --------
    >>> keep_room(2**20)
    """
    np.empty(min(n_bytes, _MOST_KEPT), np.uint8)  # not written to, so that it costs no memory, and freed at once
