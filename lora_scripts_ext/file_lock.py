"""The operating system's lock on an open file, which ends with the process that holds it."""

from __future__ import annotations

import errno
import os
import sys

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def take(handle: int) -> bool | None:
    """Lock the open file ``handle`` without waiting: True taken, False held by another, None where there are no locks.

    It is released when the file is closed.
    """
    try:
        # As a type checker knows it: msvcrt is there on Windows only.
        if sys.platform == "win32":
            import msvcrt

            # Far behind the content, which others must be able to read.
            os.lseek(handle, 2**30, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _NO_LOCKS else False
    return True
