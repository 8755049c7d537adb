"""The export: the error of the ONNX file against the trained network, and its observations and actions."""

from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section


def build(outputs: Outputs) -> Section:
    """Return the section of the bundle."""
    return Section("Export", "export.html", {"parity": outputs.exported, "bundle": outputs.bundle})
