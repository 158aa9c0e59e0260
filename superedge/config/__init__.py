"""Configuration: a typed struct for each table, loading from TOML, and errors that name file and key.

Each component takes its table's struct as an argument.
"""
