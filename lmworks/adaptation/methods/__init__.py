"""The ways to change a trained model, one file each; a new file here is a new `method` of recipes."""

from lmworks.adaptation.declaration import Method
from lmworks.basics.declared import declared

METHODS = declared("lmworks.adaptation.methods", Method)
