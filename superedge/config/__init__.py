"""Configuration: typed sections, TOML loading, and errors that name the file and key.

Read by superedge.tap; every component takes its own section's struct as an argument.
"""
