"""Certificates: identities in files, TLS contexts that reload, a small development CA."""
