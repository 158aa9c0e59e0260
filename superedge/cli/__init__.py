"""The command `superedge`: one module for each subcommand.

`main.py` imports a subcommand's module when it is called, so that ``superedge --help`` answers at once.
"""
