"""The cloud: identities and callers, health, history, and the requests that lite-apiserver makes itself.

`frontend.py` and `service.py` use it; `forward` uses it to tell whether a response is from an API server.
"""
