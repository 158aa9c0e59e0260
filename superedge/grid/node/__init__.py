"""The node's half: endpoints of other sites are left out of what the node is shown."""
