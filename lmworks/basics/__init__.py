"""What every room stands on: errors, settings, files, optional packages, progress."""
