"""The links of the chain that answers a question; each asks the next one what it does not answer."""
