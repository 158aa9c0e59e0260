"""HTTP with bodies that stream both ways: HTTP/1.1 both sides, HTTP/2 as a client.

`heads`, `plain`, `h1` and the parts of `h2session` are pure; `server`, `client`, `h2client` and the pools are
the protocols around them. Called by every component.
"""
