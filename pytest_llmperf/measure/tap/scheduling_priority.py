"""Makes the system run this process at once when there is something to do.

The tap needs the processor for less than a tenth of a millisecond at a time; on a busy machine, a chunk is delayed
because other processes finish their time slice first, which takes milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct

SLICE_NS = 100_000

_SCHED_ATTR = struct.Struct("IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}


def be_prompt(*, realtime: bool = True) -> str:
    """Sets the real-time class if that is allowed, else, on Linux, the shortest time slices.

    Args:
        realtime: whether to try the real-time class.

    Returns:
        The result: `realtime`, `short turns` or `ordinary`.
    """
    if realtime:
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
            return "realtime"
    number = _SCHED_SETATTR.get(platform.machine())
    if platform.system() != "Linux" or number is None:
        return "ordinary"
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = ctypes.create_string_buffer(_SCHED_ATTR.pack(_SCHED_ATTR.size, 0, 0, nice, 0, SLICE_NS, 0, 0))
    return "ordinary" if ctypes.CDLL(None).syscall(number, 0, wanted, 0) else "short turns"
