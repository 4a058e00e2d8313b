"""Raw text in: where documents come from, how they are cleaned of duplicates, and how some are held out."""
