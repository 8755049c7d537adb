"""Streams, signals, limits, users and folders that a server's process may meet."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from hostile_peer import INFER, head
from repository import ROOT
from surroundings import bound_by_file_modes, hosted, make_store, replace_folder, write_terms

pytestmark = pytest.mark.attack

MAX_END_S = 8.0
"""A container is killed after 10 s."""


@pytest.fixture
def log(tmp_path):
    return tmp_path / "stderr"


@pytest.fixture
def bundle(bundles, tmp_path):
    """A bundle of the test's own, which every user can read."""
    tmp_path.chmod(0o755)
    return shutil.copytree(bundles[0], tmp_path / "bundle")


def following(bundle, folder):
    """Return the arguments of a server that follows a bundle, with a store and terms in a folder."""
    return (bundle, "--follow", "--store", folder / "store", "--terms", write_terms(folder / "terms"))


def limited(**limits):
    """Return a function for a child process that sets limits of resources."""

    def set_limits():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    return set_limits


def test_stderr_whose_reader_ended(log, bundle):
    read_end, write_end = os.pipe()
    with hosted(log, bundle, stderr=write_end) as host:
        os.close(write_end)
        os.close(read_end)
        host.wait_for_service()
        assert host.end() == 0


def test_stderr_closed(log, bundle):
    with hosted(log, bundle, before=("sh", "-c", 'exec "$0" "$@" 2>&-')) as host:
        host.wait_for_service()
        assert host.end() == 0


def test_stderr_on_a_full_disk(log, bundle):
    with Path("/dev/full").open("wb") as full, hosted(log, bundle, stderr=full) as host:
        host.wait_for_service()
        assert host.end() == 0


def test_stderr_of_a_follower_whose_reader_ended(log, bundle, bundles, tmp_path):
    """Every event of a promotion is a line that cannot be written."""
    read_end, write_end = os.pipe()
    with hosted(log, *following(bundle, tmp_path), stderr=write_end) as host:
        os.close(write_end)
        host.wait_for_service()
        os.close(read_end)
        replace_folder(bundle, bundles[1])
        host.wait_for_event("accepted")
        host.wait_for_service()
        assert host.end() == 0


def test_stderr_of_a_reader_that_reads_nothing(log, bundle, bundles, tmp_path):
    """A pipe that is full must not hold up an answer."""
    read_end, write_end = os.pipe()
    with hosted(log, *following(bundle, tmp_path), stderr=write_end) as host:
        host.wait_for_service()
        os.set_blocking(write_end, False)
        try:
            while True:
                os.write(write_end, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(write_end, True)
        replace_folder(bundle, bundles[1])
        for _ in range(20):
            host.wait(host.serves, "an answer", 5.0)
            time.sleep(0.1)
        os.close(read_end)
        os.close(write_end)


def test_stdin_and_stdout_closed(log, bundle):
    with hosted(log, bundle, before=("sh", "-c", 'exec "$0" "$@" <&- >&-')) as host:
        host.wait_for_service()
        assert host.end() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGPIPE], ids=lambda number: number.name)
def test_a_signal_that_is_no_order_to_end(log, bundle, number):
    with hosted(log, bundle) as host:
        host.wait_for_service()
        host.process.send_signal(number)
        time.sleep(0.3)
        host.wait_for_service()
        assert host.end() == 0


def _stalled(sent):
    def connect(host):
        client = socket.create_connection(("127.0.0.1", host.port), timeout=10)
        client.sendall(sent)
        return client

    return connect


def _unread(host):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", host.port))
    client.settimeout(0.5)
    try:
        while True:
            client.sendall(head("GET", "/", host="127.0.0.1") * 100)
    except OSError:
        return client


@pytest.mark.parametrize(
    "connect",
    [
        _stalled(b""),
        _stalled(b"POST "),
        _stalled(head("POST", INFER, "Content-Length: 100", host="127.0.0.1") + b"{"),
        _unread,
    ],
    ids=["idle", "in its first line", "in its body", "that does not read"],
)
def test_sigterm_with_a_stalled_client(log, bundle, connect):
    with hosted(log, bundle) as host:
        host.wait_for_service()
        client = connect(host)
        begin_s = time.monotonic()
        host.process.terminate()
        assert host.process.wait(20) == 0
        client.close()
        assert time.monotonic() - begin_s < MAX_END_S


def test_file_descriptors_that_run_out(log, bundle):
    """Nothing is lost for good: the server answers again as soon as clients leave."""
    with hosted(log, bundle, preexec_fn=limited(NOFILE=48)) as host:
        host.wait_for_service()
        clients = []
        for _ in range(100):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", host.port))
            clients.append(client)
        before_s = sum(_cpu_times(host.process.pid))
        time.sleep(2.0)
        busy_s = sum(_cpu_times(host.process.pid)) - before_s
        for client in clients:
            client.close()
        host.wait_for_service()
        assert busy_s < 1.0, f"the server was busy for {busy_s:.1f} of 2 s"
        assert "Traceback" not in host.log()


def _cpu_times(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13]]


def test_a_disk_that_is_full_during_a_promotion(log, bundle, bundles, tmp_path):
    store, terms = make_store(tmp_path / "store", bundle), write_terms(tmp_path / "terms")
    with (
        log.open("wb"),
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader,
        hosted(
            log,
            *(bundle, "--follow", "--store", store, "--terms", terms),
            stderr=reader.stdin,
            preexec_fn=limited(FSIZE=16),
        ) as host,
    ):
        host.wait_for_service()
        replace_folder(bundle, bundles[1])
        text = host.wait_for_event("failed")
        assert str(store) in text
        host.wait_for_service()
        assert host.end() == 0


def test_little_address_space(log, bundle, bundles, tmp_path):
    """The candidate's child inherits the limit; whatever becomes of it, the server goes on."""
    store, terms = make_store(tmp_path / "store", bundle), write_terms(tmp_path / "terms")
    arguments = (bundle, "--follow", "--store", store, "--terms", terms)
    with hosted(log, *arguments, preexec_fn=limited(AS=3 * 2**29)) as host:
        host.wait_for_service()
        replace_folder(bundle, bundles[1])
        host.wait(lambda: {"accepted", "refused"} & set(host.status()["follower"]["counts"]), "an end")
        host.wait_for_service()
        assert "Traceback" not in host.log()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LANG": "xx_XX.UTF-8", "LC_ALL": "xx_XX.UTF-8"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "TZ": "Nowhere/Land"},
        {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"},
        {"OMP_NUM_THREADS": "x", "http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"},
    ],
    ids=[
        "nothing",
        "unknown locale",
        "C without UTF-8",
        "missing folders",
        "warnings are errors",
        "nonsense",
    ],
)
def test_an_environment_of(log, bundle, environment):
    with hosted(log, bundle, env={"PYTHONPATH": str(ROOT)} | environment) as host:
        host.wait_for_service()
        assert host.end() == 0
        assert "Traceback" not in host.log()


@pytest.mark.parametrize("name", ["b\u00fcndel \u2192", "two\nlines", "\udcff\udcfe", "-rf"], ids=ascii)
def test_a_bundle_whose_folder_has_an_odd_name(log, bundle, tmp_path, name):
    folder = bundle.rename(tmp_path / name)
    with hosted(
        log,
        folder,
        "--follow",
        "--store",
        tmp_path / "store",
        more_environment={"LC_ALL": "C", "PYTHONUTF8": "0"},
    ) as host:
        host.wait_for_service()
        host.status()
        assert host.end() == 0
        for line in host.log().splitlines():
            assert line.startswith("sacpipe: "), host.log()


def test_a_working_directory_that_cannot_be_written(log, bundle, tmp_path):
    (tmp_path / "empty").mkdir(mode=0o555)
    with hosted(log, bundle, cwd=tmp_path / "empty", preexec_fn=bound_by_file_modes) as host:
        host.wait_for_service()
        assert host.end() == 0


def test_a_working_directory_that_was_deleted(log, bundle, bundles, tmp_path):
    """A candidate's child needs none."""
    (tmp_path / "work").mkdir()
    with hosted(log, *following(bundle, tmp_path), cwd=tmp_path / "work") as host:
        host.wait_for_service()
        (tmp_path / "work").rmdir()
        replace_folder(bundle, bundles[1])
        host.wait_for_event("accepted")
        assert "Traceback" not in host.log()


@pytest.mark.parametrize("is_followed", [False, True], ids=["loaded once", "followed"])
def test_a_bundle_that_was_deleted(log, bundle, tmp_path, is_followed):
    more = ("--follow", "--store", tmp_path / "store", "--terms", write_terms(tmp_path / "terms"))
    with hosted(log, bundle, *(more if is_followed else ())) as host:
        host.wait_for_service()
        shutil.rmtree(bundle)
        if is_followed:
            host.wait_for_event("refused")
        host.wait_for_service()
        assert host.end() == 0


def test_a_process_that_was_stopped_and_goes_on(log, bundle):
    """What arrived while the process was stopped is answered; the pause ends nothing."""
    with hosted(log, bundle) as host:
        host.wait_for_service()
        host.process.send_signal(signal.SIGSTOP)
        try:
            with socket.create_connection(("127.0.0.1", host.port), timeout=10) as client:
                client.sendall(head("GET", "/v2/health/live", "Connection: close", host="127.0.0.1"))
                time.sleep(1.0)
                host.process.send_signal(signal.SIGCONT)
                assert client.makefile("rb").readline().split()[1] == b"200"
        finally:
            host.process.send_signal(signal.SIGCONT)
        host.wait_for_service()
