"""lossbench in a program or a notebook: `from lossbench import compare`."""
