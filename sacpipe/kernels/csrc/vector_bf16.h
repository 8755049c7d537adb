// Pairs of bfloat16 and their products by AVX512-BF16. The only file with intrinsics of this instruction set.
#pragma once
#include <cstdint>

#include "vector.h"

namespace sacpipe {

struct Pairs {  // sixteen words of two numbers, the first in the lower half
  __m512i x;
};

INLINE Pairs load(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
INLINE void store(uint32_t* p, Pairs a) { _mm512_storeu_si512(p, a.x); }
INLINE void store_half(uint32_t* p, Pairs a) { _mm256_storeu_si256((__m256i*)p, _mm512_castsi512_si256(a.x)); }
INLINE Pairs spread(uint32_t a) { return {_mm512_set1_epi32((int)a)}; }
// c + the products of a word's two numbers, in every lane
INLINE V add_products(Pairs a, Pairs b, V c) { return {_mm512_dpbf16_ps(c.x, (__m512bh)a.x, (__m512bh)b.x)}; }

// 32 neighbours in their order, each rounded to the nearest bfloat16, ties to even.
INLINE Pairs beside(V low, V high) { return {(__m512i)_mm512_cvtne2ps_pbh(high.x, low.x)}; }
// Words of one number of `a` and one of `b`, rounded likewise.
INLINE Pairs below(V a, V b) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return {_mm512_permutexvar_epi16(order, beside(a, b).x)};
}
// The same of rows that are pairs beside each other: of their lower sixteen numbers, and of their upper.
INLINE Pairs lower_below(Pairs a, Pairs b) {
  const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  return {_mm512_permutex2var_epi16(a.x, order, b.x)};
}
INLINE Pairs upper_below(Pairs a, Pairs b) {
  const __m512i order = _mm512_set_epi16(63, 31, 62, 30, 61, 29, 60, 28, 59, 27, 58, 26, 57, 25, 56, 24, 55, 23, 54, 22,
                                         53, 21, 52, 20, 51, 19, 50, 18, 49, 17, 48, 16);
  return {_mm512_permutex2var_epi16(a.x, order, b.x)};
}
INLINE V first(Pairs a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(a.x, 16))}; }
INLINE V second(Pairs a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(a.x, _mm512_set1_epi32((int)0xFFFF0000u)))};
}
// x where m > 0, else +0
INLINE Pairs where_positive(Pairs m, Pairs x) {
  return {_mm512_maskz_mov_epi16(_mm512_cmpgt_epi16_mask(m.x, _mm512_setzero_si512()), x.x)};
}

}  // namespace sacpipe
