"""HTTP with bodies that stream in both directions: HTTP/1.1 as server and client, HTTP/2 as client.

`heads`, `plain`, `h1`, `responses` and the modules that `h2session` uses are pure. `server`, `client`,
`h2client` and the pools are the Twisted protocols around them.
"""
