"""Tests of what answers are grounded in."""
