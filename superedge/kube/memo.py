"""Memoizes functions of untrusted text. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MAX_CACHED = 4096
"""Maximum characters or bytes of the arguments of a cached call, which bounds the cache's memory."""


def memo(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`functools.lru_cache` that does not cache calls with long arguments."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        remembered: Any = lru_cache(maxsize)(function)
        length: Any = len

        @wraps(function)
        def call(*texts: P.args, **keywords: P.kwargs) -> R:
            if keywords or sum(map(length, texts)) > MAX_CACHED:
                return function(*texts, **keywords)
            found: R = remembered(*texts)
            return found

        return call

    return decorate
