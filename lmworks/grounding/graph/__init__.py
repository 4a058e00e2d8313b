"""A knowledge graph: facts loaded from files or taken from text, asked in English or in SPARQL, with their sources."""
