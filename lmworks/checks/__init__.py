"""The silent errors that a user's own model, template or data can have, each a check: `lmworks check`.

    from lmworks.checks.run import check_model
    for result in check_model(lm.load("models/mine")):
        print(result.name, result.status)

A file of this folder declares checks (`@check(name, number, of="model")`). Each is called with its subject and returns
a CheckResult; none of them changes the model. The numbers are those of the project's list of silent errors, which
`tests/invariants` holds for lmworks itself.
"""
