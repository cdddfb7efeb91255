"""Run a command that ends when its parent does, even when the parent is killed with SIGKILL.

Run as a script, before anything of the project is imported:
``python -I -S leash.py PARENT SIGNAL USER COMMAND...``. USER is a numeric id, or ``-`` to stay.
The kernel forgets the wish when credentials change, so it is made after the user is dropped.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
ORPHANED_EXIT_STATUS = 3


def main() -> None:
    """Drop the user, ask for the signal, become the command."""
    parent, death_signal, user, *command = sys.argv[1:]
    if user != "-":
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != int(parent):
        sys.exit(ORPHANED_EXIT_STATUS)
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point


if __name__ == "__main__":
    main()
