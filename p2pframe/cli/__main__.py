"""`python -m p2pframe.cli`: the command where it is not installed."""

from p2pframe.cli import main

main(prog_name="p2pframe")
