"""Run a command with fewer rights: ``with_rights.py CAP,CAP… COMMAND…`` takes those capabilities away; ``none`` all.

``none`` is a user namespace without a mapping: no root, no capability, yet the files of this user, such as the interpreter.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_CAPBSET_DROP = 24  # include/uapi/linux/prctl.h
_CLONE_NEWUSER = 0x10000000  # include/uapi/linux/sched.h

NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


def main(dropped: str, *command: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if dropped == "none":
        _call(libc.unshare(_CLONE_NEWUSER))
    else:
        for name in dropped.split(","):
            _call(
                libc.prctl(_PR_CAPBSET_DROP, NUMBERS[name], 0, 0, 0)
            )  # what is not in the bounding set is lost at exec
    os.execv(command[0], command)


def _call(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(*sys.argv[1:])
