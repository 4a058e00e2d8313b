"""A package, because another folder of tests has files of the same names."""
