"""What `list`, `runs`, `show` and `diff` print: text of at most the terminal's width, 80 columns where it is piped.

A module for each, so that none waits for what another imports.
"""
