"""One page about a model: how good, how fast, how large, how biased, why it says what it says, and what it leaks.

    lmworks report smollm2                 # reports/smollm2: report.html, report.json and README.md, a model card

A section is a file of `sections/` that declares itself. Each one's results are kept as soon as they are measured, so
that a report which was stopped goes on.
"""
