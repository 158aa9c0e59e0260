"""A directory of allocations that a group shares with root.

The edge process ends reservations without being root: its group may write in the directories of networks,
where the plugin does. Nothing that root opens there may then be a link that a member of the group made. The
directory of all networks stays root's alone, so that none of them is replaced by a link.
"""

import posix

PARENT_MODE = 0o2755
"""With the set-group-ID bit, so that what is made within has the group too."""
NETWORK_MODE = 0o2775
FILE_MODE = 0o660


def is_parent_shared(directory: str) -> bool:
    """Whether a new network in this directory is to be shared. Raises OSError."""
    return posix.stat(directory).st_mode & 0o2000 != 0


def is_shared(network: str) -> bool:
    """Whether a group may write in a network's directory. Raises OSError."""
    return posix.stat(network).st_mode & 0o020 != 0


def open_own(path: str, flags: int, shared: bool) -> int:
    """Open a file of ours for writing, which is made if it is not there. Raises OSError."""
    flags |= posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK  # a pipe is not waited for
    descriptor = posix.open(path, flags, 0o600)
    if shared:
        status = posix.fstat(descriptor)
        if status.st_uid == posix.geteuid() and status.st_mode & 0o777 != FILE_MODE:
            posix.fchmod(descriptor, FILE_MODE)
    return descriptor


def share(directory: str, group: int) -> None:
    """Give a directory, and all that is in it, to a group by its number. Raises OSError."""
    import os  # noqa: PLC0415 - it takes long, and the plugin does not share

    os.makedirs(directory, 0o755, exist_ok=True)
    for path, _, names, inside in os.fwalk(directory):
        os.fchown(inside, -1, group)
        os.fchmod(inside, PARENT_MODE if path == directory else NETWORK_MODE)
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
