"""Pods keep their addresses through a reboot without the cloud."""
