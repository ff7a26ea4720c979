"""Pages and modules made from the code: `python -m mizar.cli.reference` writes them.

One module a source: C headers, kinds, commands, limits, the API. Works in a
source tree only; ``--check`` writes nothing and fails when the tree differs.
"""
