"""Runs a command that ends when the process that started it ends, even by kill -9.

Law: no process of the local stack outlives it. Linux sends the signal; elsewhere only `stop` does.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> int:
    """Replace this process: `arguments` are the parent's process id and the command."""
    parent, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            return 1  # the parent ended before the signal was asked for
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
