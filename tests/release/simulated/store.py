"""What the registry's server holds, and what hands and damage do to it without asking."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sacpipe.core.files import sha256_bytes
from sacpipe.tracking.registry import BUNDLE_TAG, VersionRecord
from simulated.processes import Process

Files = dict[str, bytes]


@dataclass
class Policy:
    """One registered name."""

    versions: dict[int, VersionRecord] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    deleted: dict[int, str] = field(default_factory=dict)
    """Digest of the bundle of each deleted version."""
    lost: dict[int, VersionRecord] = field(default_factory=dict)
    """Versions that a hand deleted."""

    def record(self, version: int) -> VersionRecord:
        """Return a version as readers get it."""
        aliases = sorted(alias for alias, number in self.aliases.items() if number == version)
        one, tags = self.versions[version], dict(self.versions[version].tags)
        return VersionRecord(
            one.name, version, one.run_id, one.model_id, tags, tuple(aliases), one.description
        )


class Store:
    """The state that all clients of one registry share."""

    def __init__(self, *, excludes: bool = True) -> None:
        self.excludes = excludes
        """Whether the store has a lock for release commands."""
        self.policies: dict[str, Policy] = {}
        self.files: dict[str, Files] = {}
        """Files of each model, by its id."""
        self.holders: dict[str, Process] = {}
        """Process that holds the lock of each policy."""
        self.on_change: Callable[[Process | None, str], None] = lambda process, what: None
        """Called after each change, with the process that made it: robots look at the registry then."""

    def policy(self, name: str) -> Policy:
        """Return a registered name, which is made where it is missing."""
        return self.policies.setdefault(name, Policy())

    def holder(self, name: str) -> Process | None:
        """Return the living process that holds a policy's lock: the lock ends with its process."""
        process = self.holders.get(name)
        return None if process is None or process.is_dead else process

    def is_intact(self, record: VersionRecord) -> bool:
        """Return whether a version's bytes are those of its digest."""
        return files_digest(self.files.get(record.model_id, {})) == record.bundle_digest

    def flip_a_byte(self, name: str, version: int) -> None:
        """Change one byte of a version's files."""
        files = self.files[self.policies[name].versions[version].model_id]
        policy = files["policy.onnx"]
        files["policy.onnx"] = bytes([policy[0] ^ 1]) + policy[1:]
        self.on_change(None, "flip_a_byte")

    def delete_by_hand(self, name: str, version: int) -> None:
        """Delete a version and the aliases that name it, as MLflow's page does."""
        policy = self.policies[name]
        policy.lost[version] = policy.versions.pop(version)
        policy.deleted[version] = policy.lost[version].bundle_digest
        policy.aliases = {alias: number for alias, number in policy.aliases.items() if number != version}
        self.on_change(None, "delete_by_hand")

    def heal(self, name: str, files: Mapping[str, Files]) -> None:
        """Register what hands deleted again, with its number alone, and write all files, as a rebuild does."""
        policy = self.policies[name]
        for version, record in policy.lost.items():
            policy.versions[version] = replace(record, tags={BUNDLE_TAG: record.bundle_digest}, aliases=())
            policy.deleted.pop(version, None)
        policy.lost.clear()
        self.files.update(files)

    def move_by_hand(self, name: str, alias: str, version: int | None) -> None:
        """Move an alias, or delete it."""
        policy = self.policies[name]
        if version is None:
            policy.aliases.pop(alias, None)
        else:
            policy.aliases[alias] = version
        self.on_change(None, "move_by_hand")


def files_digest(files: Files) -> str:
    """Return the digest of a bundle: that of its manifest, where every file is as the manifest lists it."""
    manifest = files.get("manifest.json", b"")
    listed = b"\n".join(
        f"{name} {sha256_bytes(data)}".encode()
        for name, data in sorted(files.items())
        if name != "manifest.json"
    )
    return sha256_bytes(manifest) if manifest == listed else ""


def simulated_bundle(content: bytes) -> Files:
    """Return the files of a bundle of a few bytes."""
    return {
        "policy.onnx": content,
        "manifest.json": f"policy.onnx {sha256_bytes(content)}".encode(),
    }
