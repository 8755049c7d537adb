"""Variables by which NumPy, OpenBLAS, glibc and PyTorch pretend to be on other processors."""

from numpy._core._multiarray_umath import __cpu_features__

from sacpipe.core.fixed_arithmetic import NUMPY_TARGETS

HAS_AVX512 = __cpu_features__["X86_V4"]
AVX2_NUMPY = {"NPY_DISABLE_CPU_FEATURES": " ".join(NUMPY_TARGETS)}
PRETENDED = {
    "numpy with AVX2 alone": AVX2_NUMPY,
    "numpy with SSE4.2 alone": {"NPY_DISABLE_CPU_FEATURES": " ".join(("X86_V3", *NUMPY_TARGETS))},
    "OpenBLAS on Sandy Bridge": {"OPENBLAS_CORETYPE": "Sandybridge"},
    "OpenBLAS on Zen": {"OPENBLAS_CORETYPE": "Zen"},
    "glibc without AVX-512": {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD,-AVX512ER"
    },
}
if HAS_AVX512:  # OpenBLAS would run these kernels unasked
    PRETENDED["OpenBLAS on Skylake-X"] = {"OPENBLAS_CORETYPE": "SkylakeX"}
PRETENDED["an old processor"] = {
    **PRETENDED["glibc without AVX-512"],
    **PRETENDED["OpenBLAS on Sandy Bridge"],
    **PRETENDED["numpy with SSE4.2 alone"],
    "ATEN_CPU_CAPABILITY": "default",
}
UNSET = {name for variables in PRETENDED.values() for name in variables}
