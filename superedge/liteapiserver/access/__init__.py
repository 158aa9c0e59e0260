"""Who may read: callers and their credentials, tokens, the issuer's keys, reviews, sealed tokens.

`frontend.py` uses it to decide whether a caller is accepted while the cloud is away.
"""
