"""The lab: what everybody says about language models, one experiment a claim, with a rule fixed before the run."""
