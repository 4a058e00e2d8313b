"""Prompts: how a model that was not trained for a task is asked, and which way of asking is better."""
