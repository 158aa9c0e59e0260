"""Errors as the CNI specification numbers them."""

INCOMPATIBLE_VERSION = 1
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
UNDECODABLE = 6
INVALID_CONFIGURATION = 7
TRY_AGAIN = 11
NOT_AVAILABLE = 50
ALREADY_ALLOCATED = 100
"""Of this plugin: the container has addresses already, and no pod's name says whose they are."""
NOT_AS_EXPECTED = 101
"""Of this plugin: CHECK found another address than the container was given."""
INTERNAL = 999
"""Of the CNI's own plugins: none of the above."""


class IPAMError(Exception):
    """What a plugin reports. The text is one sentence."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)
