"""Application grid: one definition, a workload for each site, traffic that stays inside the site."""
