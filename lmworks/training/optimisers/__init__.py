"""Optimisers that a recipe can name (`training.optimiser`): each file declares one."""
