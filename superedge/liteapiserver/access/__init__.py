"""Who may read: callers and their credentials, tokens, the issuer's keys, reviews, sealed secrets.

`frontend.py` asks it who calls, and while the cloud is away whether the caller is believed.
"""
