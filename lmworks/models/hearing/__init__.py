"""Networks that read sound: how a recording becomes features, and what reads them in place of tokens."""
