"""Composition: turns a parsed configuration into a tree of Twisted services.

The only place where components meet; named by twisted/plugins/superedge_plugins.py.
"""
