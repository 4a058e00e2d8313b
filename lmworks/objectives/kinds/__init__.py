"""Objectives that a recipe can name (`objective.kind`): each file declares one, or a few that belong together."""
