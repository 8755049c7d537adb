"""The export: the error of the ONNX file against the trained network, and its observations and actions."""

from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section


def build(outputs: Outputs) -> Section:
    """Return the section of the bundle."""
    bundle = outputs.bundle
    values = {
        "parity": outputs.exported,
        "contract": bundle.contract,
        "digest": bundle.digest,
        "num_bytes": len(bundle.policy_onnx),
    }
    return Section("Export", "export.html", values)
