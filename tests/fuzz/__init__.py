"""Fuzzing: whatever bytes arrive, they give events or a failed connection, in bounded memory.

`targets` says what is fuzzed and what must hold, `seeds` what fuzzing starts from. A coverage-guided fuzzer
drives them by ``python -m tests.fuzz`` (``nox -s fuzz``), and `mutation` does as an ordinary test, with less.
An input that broke something is kept: it becomes a seed.
"""
