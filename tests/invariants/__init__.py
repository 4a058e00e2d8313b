"""The silent errors of this field (pitfalls.md), each shown not to happen."""
