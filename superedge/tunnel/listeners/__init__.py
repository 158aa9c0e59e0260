"""Where cloud programs enter the tunnel: one module a kind of listener.

Each decides which node and address are meant and splices the caller to a stream.
"""
