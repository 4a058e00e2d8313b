"""Measure: likelihood, text statistics, and the intervals without which no figure is shown."""
