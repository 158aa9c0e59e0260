"""Edge health: units on a fake clock, hashicorp/memberlist beside them, and the webhook under load."""
