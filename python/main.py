"""Runs one instance of a Python function: `python -S -E main.py`, with the protocol of docs/reference/process-protocol.md."""

import sys

if __name__ == "__main__":
    from _geminga import instance

    sys.exit(instance.main())
