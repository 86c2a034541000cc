"""The harness: what stands between Geminga and a user's Python code. Nothing here is imported by user code."""
