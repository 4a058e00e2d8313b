"""The ways to keep what a model could do while it learns something new, one file each: `retain` in a recipe."""

from lmworks.adaptation.declaration import Retention
from lmworks.basics.declared import declared

RETENTIONS = declared("lmworks.adaptation.retention", Retention)
