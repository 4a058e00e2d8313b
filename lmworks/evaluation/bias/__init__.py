"""Bias of models and word vectors: what is measured, what each figure is criticised for, and what repairs it."""
