"""Pairs of sample and prediction to numbers. Fractions everywhere; people see percent elsewhere."""
