"""Many runs of a sweep trained as one model, whose tensors have an axis more: R, the runs.

`grouping` says which runs can be, `training` is the loop of `lossbench.training` over them.
"""
