"""The lab: what everybody says about language models, measured. One experiment a claim; its rule is fixed before the
run."""
