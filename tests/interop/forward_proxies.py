"""The proxies that clients connect through: squid, tinyproxy, microsocks and Dante, on this machine only."""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from .programs import is_listened_on, need, reserved_port, running

USER, PASSWORD = "ada", "love-lace"

SQUID = """
http_port 127.0.0.1:{plain} name=open
http_port 127.0.0.1:{asking}
https_port 127.0.0.1:{tls} tls-cert={where}/certificate.pem
auth_param basic program {where}/passwords
auth_param basic realm interop
acl open myportname open
acl known proxy_auth REQUIRED
http_access allow open
http_access allow known
http_access deny all
cache deny all
access_log none
cache_log /dev/null
pid_filename none
netdb_filename none
coredump_dir {where}
pinger_enable off
visible_hostname localhost
shutdown_lifetime 0 seconds
"""

PASSWORDS = f"""#!/bin/sh
while read -r line; do
    if [ "$line" = "{USER} {PASSWORD}" ]; then echo OK; else echo ERR; fi
done
"""

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 600
LogLevel Warning
"""

DANTED = """
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 command: connect }}
"""


@dataclass(frozen=True)
class Way:
    """A proxy that runs, and how it is spoken to."""

    name: str
    scheme: str
    port: int
    asks: bool
    """Whether it wants to know a user name and password."""

    def url(self, password: str | None = PASSWORD, scheme: str = "") -> str:
        """Its URL, with credentials if it asks for them and there is a *password*."""
        user = f"{USER}:{password}@" if self.asks and password is not None else ""
        return f"{scheme or self.scheme}://{user}127.0.0.1:{self.port}"


PROGRAMS = {
    "squid": "squid",
    "squid that asks": "squid",
    "squid over TLS": "squid",
    "tinyproxy": "tinyproxy",
    "tinyproxy that asks": "tinyproxy",
    "microsocks": "microsocks",
    "microsocks that asks": "microsocks",
    "Dante": "danted",
}
"""What is tested with, and the programs."""


@contextmanager
def way_through(name: str, ca: trustme.CA) -> Iterator[Way]:
    """Run the proxy *name* for the length of a block."""
    with ExitStack() as stack:
        # Not pytest's directory: squid works as somebody who can't read that.
        where = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        where.chmod(0o755)
        plain, asking, tls = (stack.enter_context(reserved_port()) for _ in range(3))
        asks = name.endswith((" that asks", " over TLS"))
        if name.startswith("squid"):
            certificate = where / "certificate.pem"
            ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
                str(certificate)
            )
            passwords = where / "passwords"
            passwords.write_text(PASSWORDS)
            passwords.chmod(0o755)
            file = where / "squid.conf"
            file.write_text(SQUID.format(where=where, plain=plain, asking=asking, tls=tls))
            # A service name of its own: instances of one name share memory.
            command = [need("squid"), "-N", "-n", f"interop{plain}", "-f", str(file)]
            port = {"squid": plain, "squid that asks": asking, "squid over TLS": tls}[name]
            scheme = "https" if port == tls else "http"
        elif name.startswith("tinyproxy"):
            file = where / "tinyproxy.conf"
            credentials = f"BasicAuth {USER} {PASSWORD}\n" if asks else ""
            file.write_text(TINYPROXY.format(port=plain) + credentials)
            command = [need("tinyproxy"), "-d", "-c", str(file)]
            port, scheme = plain, "http"
        elif name.startswith("microsocks"):
            command = [need("microsocks"), "-i", "127.0.0.1", "-p", str(plain)]
            command += ["-u", USER, "-P", PASSWORD] if asks else []
            port, scheme = plain, "socks5h"
        else:
            file = where / "danted.conf"
            file.write_text(DANTED.format(port=plain, user=getpass.getuser()))
            command = [need("danted"), "-f", str(file)]
            port, scheme = plain, "socks5h"
        stack.enter_context(running(command, where / "log", lambda: is_listened_on(port)))
        yield Way(name, scheme, port, asks)
