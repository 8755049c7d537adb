// Sixteen float32 lanes by AVX-512. The only file with intrinsics of this instruction set.
#pragma once
#include <immintrin.h>

namespace sacpipe {

constexpr int TILE_ROWS = 8;     // rows of the product's tile: 8 x 32 floats in sixteen of 32 registers
constexpr int TILE_VECTORS = 2;  // vectors of a row of the tile

struct V {
  __m512 x;
};

INLINE V load(const float* p) { return {_mm512_loadu_ps(p)}; }
INLINE void store(float* p, V a) { _mm512_storeu_ps(p, a.x); }
INLINE V spread(float a) { return {_mm512_set1_ps(a)}; }
INLINE V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
INLINE V operator+(V a, V b) { return {_mm512_add_ps(a.x, b.x)}; }
INLINE V operator-(V a, V b) { return {_mm512_sub_ps(a.x, b.x)}; }
INLINE V operator*(V a, V b) { return {_mm512_mul_ps(a.x, b.x)}; }
INLINE V operator/(V a, V b) { return {_mm512_div_ps(a.x, b.x)}; }
INLINE V max(V a, V b) { return {_mm512_max_ps(a.x, b.x)}; }
INLINE V min(V a, V b) { return {_mm512_min_ps(a.x, b.x)}; }
INLINE V square_root(V a) { return {_mm512_sqrt_ps(a.x)}; }
INLINE V nearest(V a) { return {_mm512_roundscale_ps(a.x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// x where m > 0, else +0
INLINE V where_positive(V m, V x) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(m.x, _mm512_setzero_ps(), _CMP_GT_OQ), x.x)};
}

}  // namespace sacpipe

#include "transpose_x86.h"
