"""A real PostgreSQL for tests, as Debian has it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psycopg

from toolbox import debian

_PACKAGES = (
    "postgresql-15",
    *("libpq5", "libicu72", "libldap-2.5-0", "libsasl2-2", "libxml2", "liblz4-1", "libzstd1"),
    *("libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0", "libkeyutils1", "libssl3", "libcom-err2"),
)
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu")
_NOBODY = 65534
"""PostgreSQL refuses to run as root."""


@dataclass
class Postgres:
    folder: Path
    port: int
    host: str = "127.0.0.1"
    """A further address to listen at, where users need a password."""
    _server: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def emptied(self) -> str:
        """The URL of the database, which is empty again: far quicker than a new one."""
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid) {others}".encode())
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return self.url

    def start(self) -> None:
        # few and small: the machine has other things to do; fsync stays on, as it is what commits wait for
        settings = ("shared_buffers=32MB", "max_connections=60", f"unix_socket_directories={self.folder}")
        options = [part for one in settings for part in ("-c", one)]
        with (self.folder / "log").open("ab") as log:
            self._server = self._spawn(
                "postgres", "-D", "data", "-h", f"127.0.0.1,{self.host}", "-p", str(self.port), *options, log=log
            )
        for _ in range(300):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url).close()
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: break every connection and stop. SIGQUIT: as a crash does."""
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait()
            self._server = None

    def initialise(self) -> None:
        with (self.folder / "log").open("ab") as log:
            options = ("-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
            if self._spawn("initdb", *options, log=log).wait():
                raise RuntimeError((self.folder / "log").read_text())
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")  # whoever is not on this machine

    def _spawn(self, name: str, *options: str, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        program = next(self.folder.glob(f"root/usr/lib/postgresql/*/bin/{name}"))
        libraries = ":".join(str(self.folder / "root" / one) for one in _LIBRARIES)
        user = _NOBODY if os.geteuid() == 0 else None
        return subprocess.Popen(
            [program, *options],
            cwd=self.folder,
            env={"LD_LIBRARY_PATH": libraries, "PATH": str(program.parent), "LC_ALL": "C"},
            stdout=log,
            stderr=log,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )


@contextlib.contextmanager
def postgres(host: str = "127.0.0.1") -> Iterator[Postgres]:
    """A running server; its folder is where any user can read it, unlike the cache and pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="headrace-postgres-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        unneeded = shutil.ignore_patterns("bitcode", "doc", "man", "locale")
        shutil.copytree(debian.unpacked(*_PACKAGES), folder / "root", symlinks=True, ignore=unneeded)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            server = Postgres(folder, listener.getsockname()[1], host)
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        server.initialise()
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
