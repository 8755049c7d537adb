// Sixteen float32 lanes, whatever the processor's registers hold: every instruction set computes the same bytes.
//
// The headers of the sets have the intrinsics, and nothing else has: the rest is compiled without contraction of
// products and sums, so that a fused multiply-add stands where `fma` is written and nowhere else.
#pragma once
#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))

#if defined(SACPIPE_ISA_AVX512) || defined(SACPIPE_ISA_AVX512_BF16)
#include "vector_avx512.h"
#elif defined(SACPIPE_ISA_X86_64_V3)
#include "vector_x86_64_v3.h"
#elif defined(SACPIPE_ISA_NEON)
#include "vector_neon.h"
#else
#error "compile with -DSACPIPE_ISA_..."
#endif

namespace sacpipe {

constexpr int LANES = 16;
INLINE V zero() { return spread(0.f); }

// Sum of the lanes in one fixed order: halves, quarters, pairs.
INLINE float sum(V a) {
  float x[LANES];
  store(x, a);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) x[i] = x[i] + x[i + half];
  return x[0];
}

}  // namespace sacpipe
