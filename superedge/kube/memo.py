"""A function's results, remembered for short arguments. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LONGEST = 4096
"""Characters or bytes of all arguments together. A client may send more, and then it must not stay."""


def memo(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`functools.lru_cache` for a function of texts that a client chose."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        remembered: Any = lru_cache(maxsize)(function)
        length: Any = len

        @wraps(function)
        def call(*texts: P.args, **named: P.kwargs) -> R:
            if named or sum(map(length, texts)) > LONGEST:
                return function(*texts, **named)
            found: R = remembered(*texts)
            return found

        return call

    return decorate
