"""The listeners at which callers enter the tunnel, one module for each kind.

A listener finds the node and the target of each caller, and splices the caller to a stream.
"""
