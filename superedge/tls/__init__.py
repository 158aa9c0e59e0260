"""Certificates: identities from files, TLS contexts that reload, a small development authority.

Used by every component that listens or dials.
"""
