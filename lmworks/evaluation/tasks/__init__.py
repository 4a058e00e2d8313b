"""Questions with known answers, and what a model makes of them: choices, minimal pairs, written answers."""
