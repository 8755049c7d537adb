"""The load gate: the bytes of a bundle's files in, a policy that may act out, or the rule that refused it.

Rules in the order in which they are asked; the first that says no is named in the refusal:

    files      the names of a bundle, each once, nothing else         sacpipe/rollout/sources.py
    links      each a plain file                                      sacpipe/rollout/sources.py
    size       none larger than its name allows                       sacpipe/rollout/sources.py
    signature  by a key that the operator trusts                      sacpipe/bundle/signature.py
    manifest   its version, keys and form
    digest     size and SHA-256 of every file, of the bytes that are loaded
    contract   its version, keys, types and form
    graph      nothing but a plain graph of finite numbers, and of operators that this operator allows
    tensors    onnxruntime takes it, and names, types and shapes are the contract's
    golden     the golden actions come out again on this machine
    timing     on this machine, 99 of 100 actions are there before the contract's deadline

Then the bundle may go into the store (sacpipe/rollout/bundle_store.py). Nothing is read a second time: what
is loaded and what is kept are the bytes that were judged. A server that runs has all of this done in
another process first (sacpipe/rollout/load_gate_process.py).
"""

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from sacpipe.bundle.contract import Contract, Sha256
from sacpipe.bundle.files import SIGNATURE_NAME, under_rule
from sacpipe.bundle.reader import Bundle, parse_bundle
from sacpipe.bundle.signature import PublicKey, verify_signature
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError, BundleRule, GateError
from sacpipe.robot.policy import OnnxPolicy

_ORDER: tuple[BundleRule, ...] = tuple(
    rule for rule in get_args(BundleRule) if rule not in ("process", "store")
)
"""The rules the gate asks, in order; the others are of judge.py and of the store."""


class LoadGateSettings(Config):
    """What an operator asks of a bundle, beyond what is always asked."""

    public_keys: tuple[PublicKey, ...]
    """Keys that are trusted to sign. With any, a signature that is there must be by one of them."""
    require_signature: bool
    """Whether a bundle without a signature is refused."""
    allowed_operators: tuple[str, ...] | None = Field(min_length=1)
    """The ONNX operators this operator allows; null for all that a bundle may have."""
    timing_runs: int = Field(ge=100)
    """Actions computed to judge the timing."""

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.require_signature and not self.public_keys:
            raise ValueError("require_signature needs one key at least in public_keys")
        return self


class RuleOutcome(Config):
    """What one rule said of a bundle that passed."""

    rule: BundleRule
    outcome: Literal["passed", "not_checked"]


class LoadGateReport(Config):
    """What the gate found of a bundle that passed."""

    bundle_digest: Sha256
    key_id: str | None
    """The key that signed it; null where no signature was checked."""
    rules: tuple[RuleOutcome, ...]
    """Every rule, in order."""
    golden_error: float
    """Largest difference from the golden actions, as a share of the action's range."""
    p99_us: float
    """Microseconds within which 99 of 100 actions were there."""
    deadline_us: float | None
    """What the contract allows for an action; null where its task has no clock, and timing is not checked."""


@dataclass(frozen=True, eq=False)
class AdmittedBundle:
    """A bundle that passed the gate; only `run_load_gate` makes one."""

    files: Mapping[str, bytes]
    """The bytes that were judged, by name."""
    bundle: Bundle
    policy: OnnxPolicy
    """Ready to act, from those bytes."""
    report: LoadGateReport


def run_load_gate(
    files: Mapping[str, bytes], settings: LoadGateSettings, p99_us: float | None = None
) -> AdmittedBundle:
    """Judge a bundle.

    Args:
        files: What `read_source` gave, by name.
        settings: What the operator asks.
        p99_us: What another process on this machine measured; without it, it is measured here.

    Raises:
        GateError: names the rule, what was expected and what was found.
        ConfigError: a signature is to be checked and the package `cryptography` is missing.
    """
    try:
        key = check_signature(files, settings)
        bundle = parse_bundle(files)
        with under_rule("graph"):
            _check_operators(bundle.contract, settings.allowed_operators)
        policy = OnnxPolicy(bundle)
        with under_rule("timing"):
            p99_us = _measure(policy, bundle, settings.timing_runs) if p99_us is None else p99_us
            deadline_us = _check_timing(bundle.contract, p99_us, settings.timing_runs)
    except BundleError as exc:
        raise GateError(str(exc), exc.rule or "contract") from exc
    skipped = {"signature": key is None, "timing": deadline_us is None}
    report = LoadGateReport(
        bundle_digest=bundle.digest,
        key_id=key,
        rules=tuple(
            RuleOutcome(rule=rule, outcome="not_checked" if skipped.get(rule, False) else "passed")
            for rule in _ORDER
        ),
        golden_error=policy.golden_error,
        p99_us=p99_us,
        deadline_us=deadline_us,
    )
    return AdmittedBundle(files, bundle, policy, report)


def check_signature(files: Mapping[str, bytes], settings: LoadGateSettings) -> str | None:
    """Return the id of the key that signed; None where there is nothing to check, or to check it with.

    Raises:
        BundleError: it is missing, or by no key that is trusted.
        ConfigError: the package `cryptography` is missing.
    """
    signature = files.get(SIGNATURE_NAME)
    if signature is None and settings.require_signature:
        fault = "missing; expected a signature, as this robot requires one"
        raise BundleError(f"{SIGNATURE_NAME}: {fault}. Have the bundle signed.", "signature")
    if signature is None or not settings.public_keys:
        return None
    return verify_signature(files["manifest.json"], signature, settings.public_keys)


def _check_operators(contract: Contract, allowed: tuple[str, ...] | None) -> None:
    """Ask for the narrower list; that the contract tells the graph's operators was checked before."""
    if allowed is not None and (others := sorted(set(contract.onnx.operators) - set(allowed))):
        raise BundleError(
            f"policy.onnx: expected only the operators allowed here, {', '.join(sorted(allowed))}; found "
            f"{', '.join(others)}. Allow them, or train another kind of network."
        )


def _measure(policy: OnnxPolicy, bundle: Bundle, num_runs: int) -> float:
    """Return the microseconds within which 99 of 100 actions are there.

    The replay of the golden sequence has warmed the policy up.
    """
    durations_ns = []
    for observation in itertools.islice(itertools.cycle(bundle.golden.observations), num_runs):
        before_ns = time.perf_counter_ns()
        policy.act(observation)
        durations_ns.append(time.perf_counter_ns() - before_ns)
    return sorted(durations_ns)[math.ceil(0.99 * num_runs) - 1] / 1e3


def _check_timing(contract: Contract, p99_us: float, num_runs: int) -> float | None:
    """Return the microseconds that the contract allows for an action; None where its task has no clock."""
    if contract.spec.control_period_s is None:
        return None
    deadline_us = contract.guards.deadline_periods * contract.spec.control_period_s * 1e6
    if p99_us >= deadline_us:
        raise BundleError(
            f"expected 99 of 100 actions within {deadline_us:.6g} us on this machine, found {p99_us:.6g} us "
            f"in {num_runs} runs. Use a smaller network, a longer control period or a faster machine."
        )
    return deadline_us
