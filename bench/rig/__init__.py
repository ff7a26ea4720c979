"""What the benchmarks share: namespaces, the paths under test, traffic, figures.

No benchmark is in here; each script in bench/ is one claim.
"""
