"""The training loop: settings, optimiser, schedule, checkpoints, resume, run log."""
