// Sixteen float32 lanes by AVX2 and FMA. The only file with intrinsics of this instruction set.
#pragma once
#include <immintrin.h>

namespace sacpipe {

constexpr int TILE_ROWS = 4;     // rows of the product's tile: 4 x 16 floats in eight of 16 registers
constexpr int TILE_VECTORS = 1;  // vectors of a row of the tile

struct V {
  __m256 x, y;
};

INLINE V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void store(float* p, V a) { _mm256_storeu_ps(p, a.x), _mm256_storeu_ps(p + 8, a.y); }
INLINE V spread(float a) { return {_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
INLINE V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.x, b.x, c.x), _mm256_fmadd_ps(a.y, b.y, c.y)}; }
INLINE V operator+(V a, V b) { return {_mm256_add_ps(a.x, b.x), _mm256_add_ps(a.y, b.y)}; }
INLINE V operator-(V a, V b) { return {_mm256_sub_ps(a.x, b.x), _mm256_sub_ps(a.y, b.y)}; }
INLINE V operator*(V a, V b) { return {_mm256_mul_ps(a.x, b.x), _mm256_mul_ps(a.y, b.y)}; }
INLINE V operator/(V a, V b) { return {_mm256_div_ps(a.x, b.x), _mm256_div_ps(a.y, b.y)}; }
INLINE V max(V a, V b) { return {_mm256_max_ps(a.x, b.x), _mm256_max_ps(a.y, b.y)}; }
INLINE V min(V a, V b) { return {_mm256_min_ps(a.x, b.x), _mm256_min_ps(a.y, b.y)}; }
INLINE V square_root(V a) { return {_mm256_sqrt_ps(a.x), _mm256_sqrt_ps(a.y)}; }
INLINE V nearest(V a) {
  constexpr int how = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.x, how), _mm256_round_ps(a.y, how)};
}
// x where m > 0, else +0
INLINE V where_positive(V m, V x) {
  __m256 zero = _mm256_setzero_ps();
  return {_mm256_and_ps(_mm256_cmp_ps(m.x, zero, _CMP_GT_OQ), x.x),
          _mm256_and_ps(_mm256_cmp_ps(m.y, zero, _CMP_GT_OQ), x.y)};
}

}  // namespace sacpipe

#include "transpose_x86.h"
