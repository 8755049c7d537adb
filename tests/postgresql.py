"""A PostgreSQL cluster of a test's own, from Debian's package: on loopback, with a free port and passwords by file."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from memory import memory

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path())
USER = "mlflow"


class PostgreSQL:
    """A running cluster. Its password has characters that an address must quote."""

    def __init__(self, port: int, password: str, superuser: str) -> None:
        self.port, self.password, self._superuser = port, password, superuser

    def address(self, database: str, password: str | None = None) -> str:
        """Return the address of a database with its user and password."""
        shown = quote(password or self.password, safe="")
        return f"postgresql+psycopg2://{USER}:{shown}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Execute SQL as the superuser and return the rows as text."""
        command = [BIN / "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        done = subprocess.run(
            [
                *command,
                "--host=127.0.0.1",
                f"--port={self.port}",
                "--username=postgres",
                f"--dbname={database}",
            ],
            input=f"\\set ON_ERROR_STOP on\n{statement}",
            env=os.environ | {"PGPASSWORD": self._superuser},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def postgresql(*databases: str) -> Iterator[PostgreSQL]:
    """Start a cluster with these databases, which the user `mlflow` owns, and end it."""
    # In memory, where the machine has such a folder: a cluster has thousands of files.
    folder = Path(tempfile.mkdtemp(prefix="sacpipe-postgresql-", dir=memory()))
    found = PostgreSQL(free_port(), f"p@ss/{secrets.token_hex(8)}", secrets.token_hex(8))
    superuser = folder / "superuser"
    superuser.touch(mode=0o600)
    superuser.write_text(found._superuser)
    # PostgreSQL refuses to run as root. Settings are for tests: nothing has to outlive this machine.
    options = f"-c listen_addresses=127.0.0.1 -c port={found.port} -c unix_socket_directories= -c fsync=off"
    control = [BIN / "pg_ctl", f"--pgdata={folder}/data", f"--log={folder}/log", "--wait", "--timeout=60"]
    _hand_over(folder)
    try:
        _run(
            [BIN / "initdb", f"--pgdata={folder}/data", "--username=postgres", f"--pwfile={superuser}"],
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
        )
        _run([*control, f"--options={options}"], "start")
        try:
            found.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{found.password}';")
            for name in databases:
                found.execute(f"CREATE DATABASE {name} OWNER {USER};")
            yield found
        finally:
            _run(control, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """Return a port that no process listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _hand_over(folder: Path) -> None:
    """Give a folder to the user postgres, where this process is root."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)


def _run(command: list[str | Path], *more: str) -> None:
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    # To /dev/null: the server would keep a pipe of pg_ctl open.
    subprocess.run(
        [*command, *more], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user
    )
