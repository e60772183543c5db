"""Programs as users write them, for type checkers: nothing here runs.

Both checkers look at them, each in its strict mode: here, and where the library is installed (``nox -s
downstream``). `assert_type` says what a user gets without a cast. What must be an error is in `mistakes`; an
ignore of it that isn't needed is an error, too.
"""
