"""docs/performance.md and its plots, from the rows that the benchmarks write."""
