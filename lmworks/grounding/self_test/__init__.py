"""An index tests itself on its own documents, without a large model.

    outcome = self_test(index, questions=200, seed=0)
    print(outcome.table)

`wording` and `questions` make questions whose answer's place is known, `trials` looks where a search ranks that place,
`choosing` picks the settings by it, `answering` asks the index, and `run` puts it together and keeps it in the index.
"""
