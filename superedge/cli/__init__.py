"""The command `superedge`: a module for each subcommand.

`main.py` imports a subcommand's module when it is called, so that ``superedge --help`` is fast.
"""
