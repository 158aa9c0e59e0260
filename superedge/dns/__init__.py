"""DNS: the tunnel's names, which lead to the cloud end that holds a node, and the cluster's names on a node.

Composed by superedge.tap.
"""
