"""One run of the suite, inside its own Python 2.7: ``python suite_main.py < request.json``.

Not the suite's own command, wstest: that one listens on every interface. This one is given a socket that
listens already, so who connects needn't wait for it either.
"""

# What it imports is installed for Python 2.7 alone.
# mypy: ignore-errors
# pyright: reportMissingImports=false

import json
import socket
import sys

# This import installs the reactor, so it comes first.
import autobahntestsuite.choosereactor  # noqa: F401
from autobahntestsuite import fuzzing
from autobahntestsuite.case import CaseBasename, Cases
from twisted.internet import reactor

request = json.load(sys.stdin)

if request["mode"] == "list":
    names = [case.__name__[len(CaseBasename) :].replace("_", ".") for case in Cases]
    sys.stdout.write(json.dumps(names))
elif request["mode"] == "client":
    fuzzing.FuzzingClientFactory(request["spec"])  # connects, and stops after the last case
    reactor.run()
else:
    factory = fuzzing.FuzzingServerFactory(request["spec"])
    reactor.adoptStreamPort(request["listener"], socket.AF_INET, factory)
    reactor.run()
