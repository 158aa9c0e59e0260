"""Tests of superedge.testing."""
