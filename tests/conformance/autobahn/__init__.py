"""Autobahn TestSuite against our server and our client: ``python -m tests.conformance.autobahn``.

The suite runs on CPython 2.7 only: `suite` installs it there and runs it, `testee` is what it tests, `report`
reads what it found. docs/conformance.rst has the results.
"""
