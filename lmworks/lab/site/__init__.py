"""The claims' pages: plain HTML from the registry and the stored results; `lmworks lab --export site/` writes them."""
