"""Numbers as text: few digits, thousands separators, a typographic minus sign, powers of ten as 10⁻⁴."""

import math

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SIZES = ("B", "kB", "MB", "GB", "TB")


def number(value: float, resolution: float | None = None) -> str:
    """Return a finite number with about four significant digits.

    Args:
        value: What to show.
        resolution: The smallest relevant difference, e.g. the width of an interval. Where it is given, the
            number has two digits of it.
    """
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent >= 9 or exponent < -4:
        mantissa, power = f"{value:.2e}".split("e")
        digits = mantissa.rstrip("0").rstrip(".")
        factor = digits.removesuffix("1") if digits in {"1", "-1"} else f"{digits}\u2009\u00d7\u2009"
        return _signed(f"{factor}10{str(int(power)).translate(_SUPERSCRIPT)}")
    if resolution:
        decimals = 1 - math.floor(math.log10(resolution))
        return _signed(f"{value:,.{min(max(decimals, 0), 6)}f}")
    shown = f"{value:,.{max(0, 3 - exponent)}f}"
    return _signed(shown.rstrip("0").rstrip(".") if "." in shown else shown)


def interval(low: float, high: float) -> str:
    """Return an interval, with enough digits to distinguish its ends."""
    return f"{number(low, high - low)} to {number(high, high - low)}"


def count(value: float) -> str:
    """Return a whole number with thousands separators."""
    return _signed(f"{round(value):,}")


def size(num_bytes: float) -> str:
    """Return a number of bytes in powers of 1000."""
    power = 0
    while num_bytes >= 1000 and power < len(_SIZES) - 1:
        num_bytes, power = num_bytes / 1000, power + 1
    return f"{num_bytes:.{min(power, 1)}f} {_SIZES[power]}"


def tick_labels(ticks: list[float]) -> list[str]:
    """Return the labels of an axis, with the same unit and the same number of decimals."""
    largest = max(abs(tick) for tick in ticks)
    if largest >= 1e9 or 0 < largest < 1e-3:
        return [number(tick) for tick in ticks]
    unit, suffix = (1e6, "M") if largest >= 1e6 else (1e3, "k") if largest >= 1e4 else (1.0, "")
    scaled = [tick / unit for tick in ticks]
    decimals = next(d for d in range(13) if d == 12 or all(math.isclose(v, round(v, d)) for v in scaled))
    return ["0" if value == 0 else _signed(f"{value:,.{decimals}f}") + suffix for value in scaled]


def _signed(shown: str) -> str:
    """Return a number with a typographic minus sign; one that rounds to zero has no sign."""
    if not shown.strip("-0.,"):
        return shown.lstrip("-")
    return shown.replace("-", "\u2212")
