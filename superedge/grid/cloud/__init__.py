"""The cloud's half: a controller that makes each site's workload, and each ServiceGrid's Service."""
