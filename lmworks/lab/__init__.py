"""The lab: what everybody says about language models; one experiment a claim, its rule fixed beforehand."""
