"""The losses over pairs of answers, one file each; a new file here is a new `loss` of `lmworks prefer`."""
