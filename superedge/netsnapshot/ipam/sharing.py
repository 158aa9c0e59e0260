"""A directory of allocations that a group shares with root.

The edge process ends reservations without being root: its group may write where the plugin does. Nothing
that root opens there may then be a link that a member of the group made.
"""

import os

DIRECTORY_MODE = 0o2775
"""With the set-group-ID bit, so that new files and directories have the group too."""
FILE_MODE = 0o660


def is_shared(directory: str) -> bool:
    """Whether a group may write in a directory. Raises OSError."""
    return os.stat(directory).st_mode & 0o020 != 0


def open_own(path: str, flags: int, shared: bool) -> int:
    """Open a file of ours for writing, which is made if it is not there. Raises OSError."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    status = os.fstat(descriptor)
    if shared and status.st_uid == os.geteuid() and status.st_mode & 0o777 != FILE_MODE:
        os.fchmod(descriptor, FILE_MODE)
    return descriptor


def share(directory: str, group: int) -> None:
    """Give a directory, and all that is in it, to a group by its number. Raises OSError."""
    os.makedirs(directory, 0o755, exist_ok=True)
    for _, _, names, inside in os.fwalk(directory):
        os.fchown(inside, -1, group)
        os.fchmod(inside, DIRECTORY_MODE)
        for name in names:
            try:
                file = os.open(
                    name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inside
                )
            except FileNotFoundError:
                continue  # a pod has ended
            try:
                os.fchown(file, -1, group)
                os.fchmod(file, FILE_MODE)
            finally:
                os.close(file)
