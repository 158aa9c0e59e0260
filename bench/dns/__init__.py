"""The node-local DNS server beside dnsmasq and unbound."""
