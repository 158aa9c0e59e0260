"""Composition: builds a tree of Twisted services from a configuration.

Only this package imports several components. twisted/plugins/superedge_plugins.py registers it with twistd.
"""
