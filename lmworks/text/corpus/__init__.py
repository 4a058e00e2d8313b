"""From raw text to a corpus: cleaned, filtered, deduplicated, split; on this machine or on a Ray cluster."""
