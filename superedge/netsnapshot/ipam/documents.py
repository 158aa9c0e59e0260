"""JSON by the C half of the module ``json``.

Importing ``json`` takes half as long as the whole plugin, because its Python half compiles regular
expressions.
"""

from _json import encode_basestring_ascii, make_encoder, make_scanner


class _Settings:
    """What the scanner asks of a ``json.JSONDecoder``."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> object:
        raise ValueError(f"{name} is not JSON")


def _unknown(value: object) -> object:
    raise TypeError(f"{value!r} has no JSON")


def decode(text: str) -> object:
    """A JSON document. Raises ValueError."""
    text = text.strip(" \t\r\n")
    try:
        value, end = make_scanner(_Settings())(text, 0)  # type: ignore[arg-type]
    except StopIteration as problem:
        raise ValueError(f"no JSON at character {problem.value}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if end != len(text):
        raise ValueError(f"more than one JSON document, from character {end}")
    return value


def encode(value: object) -> str:
    """The shortest JSON of dictionaries with string keys, lists, strings, numbers, booleans and None."""
    return "".join(
        make_encoder(None, _unknown, encode_basestring_ascii, None, ":", ",", False, False, True)(value, 0)
    )
