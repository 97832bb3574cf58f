"""What the project promises of its speed, measured.

`python -m benchmarks [NAME...]` (README.md says how to read it).
"""
