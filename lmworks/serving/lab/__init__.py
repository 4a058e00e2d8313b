"""What a server shows of the lab: the claims and their verdicts."""
