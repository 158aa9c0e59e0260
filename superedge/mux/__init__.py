"""Streams over one connection: the yamux wire format, version 0.

frames and windows and session are pure; stream and protocol are their Twisted side. Used by superedge.tunnel.
"""
