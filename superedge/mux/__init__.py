"""Streams over one connection: the yamux wire format, version 0.

`session` and its parts are pure; `stream` and `protocol` connect them to Twisted.
"""
