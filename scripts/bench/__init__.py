"""Parts of `scripts/bench.py`: programs to compare with, contenders, measures, and the report."""
