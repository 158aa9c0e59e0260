"""The application grid: one definition, many sites, traffic that stays inside."""
