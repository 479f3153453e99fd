"""Comparisons that were published, made again and held against what was found. Needs torch only to train.

A recipe is the node `recipe` of an experiment's yaml; `lossbench reproduce NAME` trains its parts, judges its claims
and writes both down.
"""
