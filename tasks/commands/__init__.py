"""The commands, one module a family: `add` declares its arguments, `run_*` does the work.

Modules import what they need when a command runs, so that `equilens --version` stays quick.
"""
