"""The simulated world loses what the real one may lose, and nothing else."""

import contextlib

import pytest
from simulated.clock import SimulatedClock, SimulatedRandom
from simulated.disk import SimulatedDisk
from simulated.git import Remote, SimulatedGit
from simulated.processes import Crash, Faults, Process, Simulation
from simulated.registry import SimulatedRegistry
from simulated.store import Store, files_digest, simulated_bundle
from simulated.tracking import SimulatedTracking

from sacpipe.core.errors import BusyError, StorageError, StoreError, StoreUnavailableError
from sacpipe.testing.trackers import check_registry

SEEDS = range(60)


def machine(seed=0, name="A", faults=None):
    process = Process(Simulation(seed), name)
    process.start(faults or Faults())
    return process


def after_crash(write):
    """Return every state of two files that crashes leave."""
    found = set()
    for seed in SEEDS:
        disk = SimulatedDisk(machine(seed))
        write(disk)
        disk.crash()
        found.add((disk.peek("f/a"), disk.peek("f/b")))
    return found


def clones(count=2):
    remote, found = Remote(), []
    for name in "AB"[:count]:
        process = machine(name=name)
        disk = SimulatedDisk(process)
        found.append((disk, SimulatedGit(process, disk, remote)))
    return found


def registry_of(process, *, excludes=True):
    store = Store(excludes=excludes)
    return store, SimulatedRegistry(store, process)


def register(store, registry, content=b"policy", name="walker"):
    files = simulated_bundle(content)
    digest = files_digest(files)
    store.files[digest] = files
    return registry.register(name, digest, "run", digest, {})


def test_the_registry_keeps_the_contract_of_registries():
    check_registry(SimulatedTracking(name="simulated"))


def test_a_write_without_sync_is_lost_torn_or_whole():
    def write(disk):
        disk.write("f/a", b"xy")
        disk.sync_folder("f")

    assert {a for a, _ in after_crash(write)} == {b"", b"x", b"xy"}


def test_a_rewrite_without_sync_leaves_old_bytes_or_a_part_of_the_new_ones():
    def write(disk):
        disk.write("f/a", b"old")
        disk.sync("f/a")
        disk.sync_folder("f")
        disk.write("f/a", b"N")

    assert {a for a, _ in after_crash(write)} == {b"old", b"ol", b"o", b"", b"N"}


def test_a_name_without_sync_folder_is_there_or_not():
    def write(disk):
        disk.write("f/a", b"x")
        disk.sync("f/a")

    assert {a for a, _ in after_crash(write)} == {None, b"x"}


def test_what_is_synced_with_its_folder_stays():
    def write(disk):
        disk.write("f/t", b"x")
        disk.sync("f/t")
        disk.rename("f/t", "f/a")
        disk.sync_folder("f")

    assert after_crash(write) == {(b"x", None)}


def test_two_renames_may_be_undone_in_any_order():
    def write(disk):
        for name in "ab":
            disk.write(f"f/t{name}", b"x")
            disk.sync(f"f/t{name}")
        disk.sync_folder("f")
        for name in "ab":
            disk.rename(f"f/t{name}", f"f/{name}")

    assert after_crash(write) == {(None, None), (b"x", None), (None, b"x"), (b"x", b"x")}


def test_a_removal_without_sync_folder_may_be_undone():
    def write(disk):
        disk.write("f/a", b"x")
        disk.sync("f/a")
        disk.sync_folder("f")
        disk.remove("f/a")

    assert {a for a, _ in after_crash(write)} == {None, b"x"}


def test_a_full_disk_takes_a_part_and_says_so():
    disk = SimulatedDisk(machine(faults=Faults(disk=range(1, 2))))
    with pytest.raises(StorageError, match="No space left"):
        disk.write("f/a", b"xyz")
    assert b"xyz".startswith(disk.peek("f/a"))
    disk.write("f/a", b"xyz")
    assert (disk.read("f/a"), disk.list("f"), disk.list("g")) == (b"xyz", ["a"], [])


def test_a_process_that_died_acts_no_more():
    process = machine(faults=Faults(crash_at=2))
    disk, clock = SimulatedDisk(process), SimulatedClock(process)

    def work():
        try:
            disk.write("f/a", b"x")
            disk.write("f/b", b"x")
        finally:
            disk.write("f/c", b"x")

    with pytest.raises(Crash):
        work()
    for call in (clock.now, lambda: disk.read("f/a"), lambda: disk.list("f"), lambda: clock.sleep(1.0)):
        with pytest.raises(Crash):
            call()
    assert sorted(disk.files("f")) == ["f/a"]
    process.start(Faults())
    assert disk.list("f") == ["a"]


def test_a_seed_interleaves_two_processes():
    orders = set()
    for seed in SEEDS:
        simulation = Simulation(seed, keep_trace=True)
        processes = [Process(simulation, name) for name in "AB"]

        def work(process):
            for number in range(2):
                process.operation(str(number))
            return process.name

        outcomes = simulation.run({process: (lambda process=process: work(process)) for process in processes})
        assert [outcomes[process].value for process in processes] == ["A", "B"]
        orders.add("".join(line.split()[1] for line in simulation.trace.lines))
    assert orders == {"AABB", "ABAB", "ABBA", "BBAA", "BABA", "BAAB"}


def test_clocks_differ_and_waiting_passes_for_all():
    process = machine()
    clock, other = SimulatedClock(process), SimulatedClock(process)
    other.offset, before = 60.0, clock.now()
    assert (other.now() - before).total_seconds() == 60.0
    clock.sleep(10.0)
    assert (clock.now() - before).total_seconds() == pytest.approx(10.0, abs=0.2)
    token = SimulatedRandom(1).token()
    assert (len(token), token == SimulatedRandom(1).token()) == (32, True)


def test_git_commits_a_folder_with_what_is_gone():
    [(disk, git)] = clones(1)
    disk.write("release/a", b"1")
    disk.write("other/b", b"2")
    git.commit(["release"], "one")
    assert (git.uncommitted("release"), git.uncommitted("other")) == ((), ("other/b",))
    disk.remove("release/a")
    disk.write("release/c", b"3")
    assert git.uncommitted("release") == ("release/a", "release/c")
    git.commit(["release"], "two")
    assert git.uncommitted("release") == ()
    disk.crash()
    assert set(git.uncommitted("release")) <= {"release/c"}
    git.restore("release")
    assert disk.peek("release/c") == b"3"


def test_a_commit_that_fails_commits_nothing():
    process = machine(faults=Faults(git=range(2, 3)))
    disk = SimulatedDisk(process)
    git = SimulatedGit(process, disk, Remote())
    disk.write("release/a", b"1")
    with pytest.raises(StoreError, match="hook"):
        git.commit(["release"], "one")
    assert git.uncommitted("release") == ("release/a",)


def test_two_clones_share_the_union_of_their_files():
    (disk, git), (other_disk, other_git) = clones()
    disk.write("release/a", b"1")
    other_disk.write("release/b", b"2")
    for one in (git, other_git):
        one.commit(["release"], "mine")
    assert git.push()
    assert not other_git.push()
    assert other_git.pull() == ""
    assert other_git.push()
    assert git.pull() == ""
    assert disk.files("release") == other_disk.files("release") == {"release/a": b"1", "release/b": b"2"}


def test_a_conflict_is_named():
    (disk, git), (other_disk, other_git) = clones()
    for one, repository, data in ((disk, git, b"1"), (other_disk, other_git, b"2")):
        one.write("release/a", data)
        repository.commit(["release"], "mine")
    git.push()
    assert other_git.pull() == "merge conflict: release/a"
    assert other_disk.peek("release/a") == b"2"


@pytest.mark.parametrize(("share", "alias"), [(0.0, None), (1.0, 1)])
def test_a_partition_comes_before_the_effect_or_takes_the_answer(share, alias):
    process = machine(faults=Faults(partition=range(2, 3), is_answer_lost=share))
    store, registry = registry_of(process)
    register(store, registry)
    with pytest.raises(StoreUnavailableError):
        registry.set_alias("walker", "champion", 1)
    assert store.policy("walker").aliases.get("champion") == alias


def test_the_lock_ends_with_its_process():
    simulation = Simulation(0)
    first, second = (Process(simulation, name) for name in "AB")
    store = Store()
    registries = [SimulatedRegistry(store, process) for process in (first, second)]
    first.start(Faults(crash_at=2))
    second.start(Faults())
    with contextlib.suppress(Crash), registries[0].exclusive("walker") as is_excluded:
        assert is_excluded
        with pytest.raises(BusyError, match="A"), registries[1].exclusive("walker"):
            pass
        first.operation("dies here")
    with registries[1].exclusive("walker") as is_excluded:
        assert is_excluded


def test_a_store_without_locks_says_so():
    _, registry = registry_of(machine(), excludes=False)
    with registry.exclusive("walker") as is_excluded:
        assert not is_excluded


def test_a_proof_reads_the_stored_bytes():
    process = machine()
    store, registry = registry_of(process)
    record = register(store, registry)
    registry.prove(record)
    assert process.proven == {record.bundle_digest}
    store.flip_a_byte("walker", 1)
    with pytest.raises(StoreError, match="other bytes"):
        registry.prove(record)
    store.heal("walker", {record.bundle_digest: simulated_bundle(b"policy")})
    registry.prove(record)
    store.move_by_hand("walker", "champion", 1)
    store.delete_by_hand("walker", 1)
    assert (registry.versions("walker"), registry.alias("walker", "champion")) == ([], None)
    with pytest.raises(StoreError, match="no version 1"):
        registry.prove(record)
    assert register(store, registry, b"other").version == 2
