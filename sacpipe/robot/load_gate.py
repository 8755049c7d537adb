"""The load gate: the bytes of a bundle's files in; a policy that may act out, or a refusal by a named rule.

Rules in the order in which they are checked; the first rule that is broken refuses the bundle:

    files      the names of a bundle's files, each once, no other     sacpipe/rollout/sources.py
    links      plain files                                            sacpipe/rollout/sources.py
    size       no file larger than its name allows                    sacpipe/rollout/sources.py
    signature  where keys are trusted: made by one of them            sacpipe/bundle/signature.py
    manifest   version, keys and form of manifest.json                sacpipe/bundle/manifest.py
    digest     size and SHA-256 of the bytes of every file            sacpipe/bundle/reader.py
    contract   version, keys, types and form of contract.json         sacpipe/bundle/contract.py
    graph      a plain graph of finite numbers and allowed operators  sacpipe/bundle/policy_graph.py
    terms      tolerances, deadline and guards within the operator's  sacpipe/robot/operator_terms.py
    tensors    onnxruntime loads it, with the contract's names, types and shapes
    golden     this machine computes the golden actions               sacpipe/robot/policy.py
    runtime    the robot's runtime can be built and stepped           sacpipe/robot/runtime_check.py
    timing     on this machine, 99 of 100 actions meet the contract's deadline

A guard of an installed package that the operator has not enabled is refused by the rule `terms` before the
contract is parsed, because parsing imports its code.

A bundle that passed may go into the store (sacpipe/rollout/bundle_store.py). The files are read once: the
bytes that were checked are the bytes that are loaded and stored. A following server runs the whole gate in
a child process first (sacpipe/rollout/load_gate_process.py).
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
from sacpipe.robot.armed_guards import guards_in_service
from sacpipe.robot.guards.deadline_missed import DeadlineMissed
from sacpipe.robot.operator_terms import OperatorTerms, check_guard_names, check_terms
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime_check import check_runtime

_ORDER: tuple[BundleRule, ...] = tuple(
    rule for rule in get_args(BundleRule) if rule not in ("process", "store")
)
"""The rules of this file, in order. The rule `process` is of load_gate_process.py, `store` of the store."""


class LoadGateSettings(OperatorTerms):
    """Acceptance settings of the operator, beyond the rules that always hold."""

    public_keys: tuple[PublicKey, ...]
    """Trusted keys. If there are any, a bundle must have a signature by one of them."""
    require_signature: bool
    """Whether an empty `public_keys` is an error, as where a key was removed by mistake. With a key, a
    signature is required in any case."""
    allowed_operators: tuple[str, ...] | None = Field(min_length=1)
    """Allowed ONNX operators; null for all operators that a bundle may have."""
    timing_runs: int = Field(ge=100)
    """Number of actions computed to measure the timing."""

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.require_signature and not self.public_keys:
            raise ValueError("require_signature needs at least one key in public_keys")
        return self


DEFAULT_GATE = LoadGateSettings(
    public_keys=(), require_signature=False, allowed_operators=None, timing_runs=1000
)
"""The settings of an operator who has none of his own. The bundle that a new project exports passes them."""


class RuleOutcome(Config):
    """Result of one rule for a bundle that passed."""

    rule: BundleRule
    outcome: Literal["passed", "not_checked"]


class LoadGateReport(Config):
    """Result of the load gate for a bundle that passed."""

    bundle_digest: Sha256
    key_id: str | None
    """Id of the key that signed it; null where no signature was checked."""
    rules: tuple[RuleOutcome, ...]
    """All rules, in order."""
    golden_error: float
    """Largest difference from the golden actions, as a share of the action's range."""
    p99_us: float
    """Time within which 99 of 100 actions were computed, in microseconds."""
    deadline_us: float | None
    """Time that the contract allows for an action, in microseconds; null where timing is not checked, for
    example in a task without a clock."""


@dataclass(frozen=True, eq=False)
class AdmittedBundle:
    """A bundle that passed the load gate. Only `run_load_gate` makes one."""

    files: Mapping[str, bytes]
    """The bytes that were checked, by file name."""
    bundle: Bundle
    policy: OnnxPolicy
    """Loaded from those bytes, ready to act."""
    report: LoadGateReport


def run_load_gate(
    files: Mapping[str, bytes],
    settings: LoadGateSettings,
    p99_us: float | None = None,
    *,
    is_realtime: bool = True,
) -> AdmittedBundle:
    """Check a bundle by every rule and load its policy.

    Args:
        files: The bundle's files by name, as `read_source` returns them.
        settings: Acceptance settings of the operator.
        p99_us: Timing that another process on this machine measured; None to measure it here.
        is_realtime: Whether the policy has to meet its deadline here; else the rule `timing` is not checked.

    Raises:
        GateError: names the rule, what was expected and what was found.
        ConfigError: a signature must be checked and the package `cryptography` is missing.
    """
    try:
        key = check_signature(files, settings)
        check_guard_names(files["contract.json"], settings)
        bundle = parse_bundle(files)
        with under_rule("graph"):
            _check_operators(bundle.contract, settings.allowed_operators)
        check_terms(bundle.contract, settings)
        policy = OnnxPolicy(bundle)
        checked = policy.clone_session()  # the checks draw none of the policy's own noise
        check_runtime(checked, bundle)
        with under_rule("timing"):
            p99_us = _measure(checked, bundle, settings.timing_runs) if p99_us is None else p99_us
            timed = bundle.contract if is_realtime else None
            deadline_us = _check_timing(timed, p99_us, settings.timing_runs)
    except BundleError as exc:
        raise GateError(str(exc), exc.rule or "contract") from exc
    skipped = {"signature": key is None, "timing": deadline_us is None}
    report = LoadGateReport(
        bundle_digest=bundle.digest,
        key_id=key,
        rules=tuple(
            RuleOutcome(rule=rule, outcome="not_checked" if skipped.get(rule) else "passed")
            for rule in _ORDER
        ),
        golden_error=policy.golden_error,
        p99_us=p99_us,
        deadline_us=deadline_us,
    )
    return AdmittedBundle(files, bundle, policy, report)


def check_signature(files: Mapping[str, bytes], settings: LoadGateSettings) -> str | None:
    """Return the id of the key that signed; None where no key is trusted.

    This is the only place that decides whether a bundle needs a signature: it does where a key is trusted.

    Raises:
        BundleError: the signature is missing, or not made by a trusted key.
        ConfigError: the package `cryptography` is missing.
    """
    if not settings.public_keys:
        return None
    signature = files.get(SIGNATURE_NAME)
    if signature is None:
        fault = "missing; expected a signature, as keys are trusted here"
        raise BundleError(f"{SIGNATURE_NAME}: {fault}. Have the bundle signed.", "signature")
    return verify_signature(files["manifest.json"], signature, settings.public_keys)


def _check_operators(contract: Contract, allowed: tuple[str, ...] | None) -> None:
    """Check the operator's list. `parse_bundle` checked that the contract lists the graph's operators."""
    if allowed is not None and (others := sorted(set(contract.onnx.operators) - set(allowed))):
        raise BundleError(
            f"policy.onnx: expected only the operators allowed here, {', '.join(sorted(allowed))}; "
            f"found {', '.join(others)}. Allow them, or train another kind of network."
        )


def _measure(policy: OnnxPolicy, bundle: Bundle, num_runs: int) -> float:
    """Return the time within which 99 of 100 actions are computed, in microseconds.

    The golden-sequence check before it was the warm-up.
    """
    durations_ns = []
    golden = [bundle.golden.observations.rows(row) for row in range(bundle.contract.golden.num_steps)]
    for observation in itertools.islice(itertools.cycle(golden), num_runs):
        before_ns = time.perf_counter_ns()
        policy.act(observation)
        durations_ns.append(time.perf_counter_ns() - before_ns)
    return sorted(durations_ns)[math.ceil(0.99 * num_runs) - 1] / 1e3


def _check_timing(contract: Contract | None, p99_us: float, num_runs: int) -> float | None:
    """Return the time that the contract allows for an action, in microseconds; None where none is checked."""
    if contract is None or contract.spec.control_period_s is None:
        return None
    guards = guards_in_service(contract.runtime)
    deadline = next(guard for guard in guards if isinstance(guard, DeadlineMissed))
    deadline_us = deadline.deadline_periods * contract.spec.control_period_s * 1e6
    if p99_us >= deadline_us:
        raise BundleError(
            f"expected 99 of 100 actions within {deadline_us:.6g} us on this machine, found {p99_us:.6g} us "
            f"in {num_runs} runs. Use a smaller network, a longer control period or a faster machine."
        )
    return deadline_us
