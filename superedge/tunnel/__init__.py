"""The reverse tunnel: edge nodes dial out, the cloud opens streams back.

cloud.py and edge.py are the two services; docs/protocol.md is what they speak. Composed by superedge.tap.
"""
