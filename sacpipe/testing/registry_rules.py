"""The rules of a registry, one function each; `check_registry` tests them in this order on one store."""

from sacpipe.bundle.files import bundle_digest, read_files
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import BundleError, BusyError, ContractError, GateError, StoreError
from sacpipe.core.files import sha256_file
from sacpipe.testing.tracker_trial import Trial, require, require_error
from sacpipe.tracking.registry import BARRED_TAG, MAX_DESCRIPTION_CHARS, MAX_TAG_CHARS


def _check_versions(trial: Trial) -> None:
    """Each bundle has one version, with its tags."""
    registry = trial.writer.registry
    require("versions of an unknown name", [], registry.versions(trial.name))
    require("alias of an unknown name", None, registry.alias(trial.name, "champion"))
    require_error("version of an unknown name", StoreError, lambda: registry.version(trial.name, 1))
    made = [trial.register(0), trial.register(1), trial.register(0)]
    require("register: one version for each bundle", [1, 2, 1], [one.version for one in made])
    found = trial.reader.versions(trial.name)
    require("versions", [1, 2], [one.version for one in found])
    for record, bundle, number in zip(found, trial.bundles[:2], (0, 1), strict=True):
        require("bundle_digest", bundle_digest(bundle), record.bundle_digest)
        require("tags", f"of {number}", record.tags.get("note"))
        require(
            "run_id and model_id",
            (made[number].run_id, made[number].model_id),
            (record.run_id, record.model_id),
        )
        require("aliases of a new version", (), record.aliases)
    registry.set_version_tags(trial.name, 1, {"verdict": "accepted"})
    tags = trial.reader.version(trial.name, 1).tags
    require("tags after set_version_tags", ("accepted", "of 0"), (tags.get("verdict"), tags.get("note")))
    require_error("an unknown version", StoreError, lambda: registry.version(trial.name, 7))
    require("versions of another name", [], registry.versions(f"{trial.name}x"))


def _check_aliases(trial: Trial) -> None:
    """An alias names one version, and moves."""
    registry, name = trial.writer.registry, trial.name
    for version in (1, 2, 1):
        registry.set_alias(name, "champion", version)
        require("version of a moved alias", version, trial.reader.version(name, "champion").version)
        holders = [one.version for one in trial.reader.versions(name) if "champion" in one.aliases]
        require("versions with the alias", [version], holders)
    registry.set_alias(name, "candidate", 1)
    require("two aliases", ("candidate", "champion"), trial.reader.version(name, 1).aliases)
    require_error("an alias of no version", StoreError, lambda: registry.set_alias(name, "champion", 9))
    require("the alias after that", 1, trial.reader.version(name, "champion").version)
    registry.delete_alias(name, "candidate")
    require("aliases after delete_alias", ("champion",), trial.reader.version(name, 1).aliases)
    require("alias after delete_alias", None, trial.reader.alias(name, "candidate"))


def _check_bundles(trial: Trial) -> None:
    """The registered bytes come back, and the alias's policy acts as the bundle does."""
    name, bundle = trial.name, trial.bundles[0]
    fetched, policy_sha256 = trial.reader.download(trial.reader.version(name, 1), trial.folder / "down")
    require("download: the bundle's files", read_files(bundle), read_files(fetched))
    require("download: the SHA-256 of the policy", sha256_file(bundle / "policy.onnx"), policy_sha256)
    found = trial.reader.fetch_bundle(name, "champion", trial.folder / "fetched")
    require("fetch_bundle", bundle_digest(bundle), found.digest)
    error = trial.reader.smoke_load(name, "champion", open_bundle(bundle))
    require("smoke_load: a small difference", expected=True, found=0.0 <= error < 1e-5)
    other = open_bundle(trial.bundles[1])
    try:
        trial.reader.smoke_load(name, "champion", other)
    except (StoreError, BundleError):
        return
    raise ContractError("smoke_load with another bundle: expected a StoreError or a BundleError, found none.")


def _check_source(trial: Trial) -> None:
    """A reader that follows an alias is given the version that it names at each look."""
    registry, name = trial.writer.registry, trial.name
    source = trial.source(name, "champion")
    first = source.resolve()
    registry.set_alias(name, "champion", 2)
    second = source.resolve()
    for resolved, bundle in ((first, trial.bundles[0]), (second, trial.bundles[1])):
        require("source: the digest", bundle_digest(bundle), resolved.digest)
        require("source: the bundle's files", read_files(bundle), resolved.pull())
    require("source of a version", first.digest, trial.source(name, 1).resolve().digest)
    unknown = trial.source(name, "nobody")
    require_error("source of an unknown alias", StoreError, unknown.resolve)


def _check_numbers(trial: Trial) -> None:
    """A version may be given its former number, and no number names two bundles."""
    registry, name = trial.writer.registry, f"{trial.name} numbered"
    require("register with a number", 3, trial.register(0, name, number=3).version)
    require("versions after that", [3], [one.version for one in trial.reader.versions(name)])
    again = [trial.register(0, name).version, trial.register(0, name, number=3).version]
    require("register again, with the number and without it", [3, 3], again)
    require_error("another number of a bundle", StoreError, lambda: trial.register(0, name, number=5))
    require_error("the number of another bundle", StoreError, lambda: trial.register(1, name, number=3))
    require("the next number", 4, trial.register(1, name).version)
    registry.delete_version(name, 4)
    require("versions after delete_version", [3], [one.version for one in trial.reader.versions(name)])
    require_error("delete_version again", StoreError, lambda: registry.delete_version(name, 4))
    require_error("the number of a deleted version", StoreError, lambda: trial.register(2, name, number=4))
    require("versions after that", [3], [one.version for one in trial.reader.versions(name)])
    following = trial.register(2, name).version
    require(f"a number after a deleted version, {following} > 4", expected=True, found=following > 4)
    registry.set_alias(name, "champion", 3)
    require_error("delete_version of an alias's", StoreError, lambda: registry.delete_version(name, 3))
    require("the alias after that", 3, trial.reader.version(name, "champion").version)


def _check_texts(trial: Trial) -> None:
    """Descriptions and tags come back as they are, up to the limits that every store has."""
    registry, name = trial.writer.registry, trial.name
    require("description of a new version", "", trial.reader.version(name, 1).description)
    for text in ('# Card\n\n\u00fc `x` | "y"\n', "\u00fc" * MAX_DESCRIPTION_CHARS, ""):
        registry.set_description(name, 1, text)
        require("description", text, trial.reader.version(name, 1).description)
    long = "x" * (MAX_DESCRIPTION_CHARS + 1)
    require_error("a longer description", StoreError, lambda: registry.set_description(name, 1, long))
    require_error("description of no version", StoreError, lambda: registry.set_description(name, 9, "a"))
    require_error("tags of no version", StoreError, lambda: registry.set_version_tags(name, 9, {"a": "b"}))
    for value in ('{"number": 1}\n', "\u00fc" * MAX_TAG_CHARS, ""):
        registry.set_version_tags(name, 1, {"text": value})
        require("a tag of a version", value, trial.reader.version(name, 1).tags.get("text"))
    long = "x" * (MAX_TAG_CHARS + 1)
    require_error("a longer tag", StoreError, lambda: registry.set_version_tags(name, 1, {"text": long}))


def _check_model_tags(trial: Trial) -> None:
    """A registered name has tags of its own, also before its first version."""
    registry, name = trial.writer.registry, f"{trial.name} tagged"
    require("model_tags of an unknown name", {}, trial.reader.model_tags(name))
    registry.set_model_tags(name, {"head": '{"number": 1}', "lease": "a"})
    require("versions of a name with tags", [], trial.reader.versions(name))
    long = "\u00fc" * MAX_TAG_CHARS
    for tags in ({"lease": ""}, {"head": long}):
        registry.set_model_tags(name, tags)
    found = trial.reader.model_tags(name)
    require("model_tags", {"head": long, "lease": ""}, {key: found.get(key) for key in ("head", "lease")})
    require_error("a longer tag", StoreError, lambda: registry.set_model_tags(name, {"head": f"{long}x"}))
    require("first version of a name with tags", 1, trial.register(0, name).version)
    require("model_tags after register", long, trial.reader.model_tags(name).get("head"))


def _check_restore(trial: Trial) -> None:
    """A version's files are written again from its own bundle only; number, id and bytes stay."""
    registry, name = trial.writer.registry, trial.name
    record = trial.reader.version(name, 1)
    registry.restore_files(record, trial.bundles[0])
    require("the version after restore_files", record, trial.reader.version(name, 1))
    fetched, _ = trial.reader.download(record, trial.folder / "restored")
    require("download after restore_files", read_files(trial.bundles[0]), read_files(fetched))
    require_error("another bundle", StoreError, lambda: registry.restore_files(record, trial.bundles[1]))


def _check_exclusive(trial: Trial) -> None:
    """Where a registry excludes, it excludes others on the same policy until the end of the block."""
    name = trial.name
    for _ in range(2):
        with trial.writer.registry.exclusive(name) as excludes, trial.reader.exclusive(f"{name}x") as other:
            require("exclusive: the same value for every name", excludes, other)
            if excludes:
                require_error("exclusive twice", BusyError, trial.reader.exclusive(name).__enter__)


def _check_barred(trial: Trial) -> None:
    """A barred version is given to no reader that serves it, by alias or number, until the tag is empty."""
    registry, name = trial.writer.registry, trial.name
    by_alias, by_number, other = (trial.source(name, which) for which in ("champion", 2, 1))
    text = "since 2026-01-02 by Ann: too fast\x1b[2J" + "." * 3000
    registry.set_version_tags(name, 2, {BARRED_TAG: text})
    for source in (by_alias, by_number):
        error = require_error("source of a barred version", GateError, source.resolve)
        rule = error.rule if isinstance(error, GateError) else None
        require("rule of a barred version", "store", rule)
        require("its reason, bounded", expected=True, found="Ann" in str(error) and len(str(error)) < 1000)
        require("its reason, escaped", expected=True, found=str(error).isprintable())
    other.resolve()
    registry.set_version_tags(name, 2, {BARRED_TAG: ""})
    for source in (by_alias, by_number):
        require("source after that", bundle_digest(trial.bundles[1]), source.resolve().digest)


def _check_bars(trial: Trial) -> None:
    """A source says which bundles are barred, also where its address names another version or none."""
    registry, name = trial.writer.registry, trial.name
    first, second, third = (bundle_digest(bundle) for bundle in trial.bundles)
    registry.set_version_tags(name, 2, {BARRED_TAG: "it shook"})
    for which in ("champion", 1, "nobody"):
        source = trial.source(name, which)
        found = source.bars({first: "", second: "", third: ""})
        barred = {digest: text for digest, text in found.items() if text}
        require("bars: the barred bundle alone", {second: "it shook"}, barred)
        require("bars: no bundle that was not asked for", {}, source.bars({}))
    registry.set_version_tags(name, 2, {BARRED_TAG: ""})
    source = trial.source(name, "champion")
    known = {second: "it shook", third: "it fell"}
    require("bars: lifted, and nothing of an unknown bundle", {second: ""}, source.bars(known))


REGISTRY_RULES = (
    _check_versions,
    _check_aliases,
    _check_bundles,
    _check_source,
    _check_texts,
    _check_model_tags,
    _check_numbers,
    _check_restore,
    _check_exclusive,
    _check_barred,
    _check_bars,
)
