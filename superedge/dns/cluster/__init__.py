"""The cluster's zone, made of Services and EndpointSlices. Pure.

Source: Kubernetes DNS-Based Service Discovery 1.1.
"""
