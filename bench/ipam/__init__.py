"""The IPAM plugin superedge-ipam beside host-local."""
