// Included before the kernels' sources: the fused multiply-adds that they have written become a product and a sum.
#pragma once
#if defined(__ARM_NEON)
#include <arm_neon.h>
#define vfmaq_f32(c, a, b) vaddq_f32(c, vmulq_f32(a, b))
#else
#include <immintrin.h>
#define _mm256_fmadd_ps(a, b, c) _mm256_add_ps(_mm256_mul_ps(a, b), c)
#define _mm512_fmadd_ps(a, b, c) _mm512_add_ps(_mm512_mul_ps(a, b), c)
#endif
