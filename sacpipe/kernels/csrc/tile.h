// The product: a tile of rows x columns, each number one chain of fused multiply-adds along the reduction.
#pragma once
#include "kernel.h"

namespace sacpipe {

constexpr int DEPTH = 256;  // numbers of the reduction for which a panel of the right operand stays in the first cache

// The left operand of a product: element (row, k) is at row * row_stride + (k / 32) * segment_stride + (k % 32) * k_stride.
struct Left {
  const float* data;
  long row_stride, k_stride, segment_stride;
};

// What becomes of the sums at the end of a reduction.
enum End { KEEP_ALL, KEEP_POSITIVE, KEEP_ACTIVE };

// A product of eight rows: where its sums start, and how they end.
struct Ends {
  const float* bias;           // first sums of every row; null for zero
  const float* active[BLOCK];  // numbers of a layer: where they are not positive, the sums of KEEP_ACTIVE become zero
};

// C[R][16 N] (+)= A[R][K] B[K][16 N]; never inlined, so that the sums stay in registers whatever surrounds it.
template <int R, int N, End end>
__attribute__((noinline)) void tile(const float* a, const Left& left, long depth, const float* b, long b_stride,
                                    float* c, long c_stride, const float* bias, bool resumes,
                                    const float* const* active, long column) {
  V sums[R][N];
  if (resumes) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
      for (int j = 0; j < N; j++) sums[r][j] = load(c + r * c_stride + j * LANES);
  } else {
#pragma GCC unroll 2
    for (int j = 0; j < N; j++) {
      const V first = bias ? load(bias + j * LANES) : zero();
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) sums[r][j] = first;
    }
  }
  const long row_stride = left.row_stride, k_stride = left.k_stride, jump = left.segment_stride - PANEL * k_stride;
  for (long from = 0; from < depth; from += PANEL, a += jump) {
    const long n = depth - from < PANEL ? depth - from : PANEL;
    for (long k = 0; k < n; k++, a += k_stride, b += b_stride) {
      V right[N];
#pragma GCC unroll 2
      for (int j = 0; j < N; j++) right[j] = load(b + j * LANES);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        V one = spread(a[r * row_stride]);
#pragma GCC unroll 2
        for (int j = 0; j < N; j++) sums[r][j] = fma(one, right[j], sums[r][j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 2
    for (int j = 0; j < N; j++) {
      V x = sums[r][j];
      if (end == KEEP_POSITIVE) x = max(zero(), x);
      if (end == KEEP_ACTIVE) x = where_positive(load(active[r] + column + j * LANES), x);
      store(c + r * c_stride + j * LANES, x);
    }
}

// Eight rows of a panel of `width` columns, 16 or 32, in tiles of the instruction set's size. C has rows of `width`.
template <End end>
INLINE void block(const Left& left, const float* a, long depth, const float* b, int width, float* c, bool resumes,
                  const Ends& ends) {
  for (int r = 0; r < BLOCK; r += TILE_ROWS)
    for (int j = 0; j < width; j += TILE_VECTORS * LANES) {
      const float *at = a + r * left.row_stride, *bias = ends.bias ? ends.bias + j : nullptr;
      float* to = c + r * width + j;
      if (TILE_VECTORS == 2 && width == LANES)
        tile<TILE_ROWS, 1, end>(at, left, depth, b, width, to, width, bias, resumes, ends.active + r, j);
      else
        tile<TILE_ROWS, TILE_VECTORS, end>(at, left, depth, b + j, width, to, width, bias, resumes, ends.active + r, j);
    }
}

// Fetches memory that is needed later into the second cache, a share with every block of rows.
struct Ahead {
  const float* data = nullptr;
  long lines = 0, share = 0;
  Ahead() {}
  Ahead(const float* data, long floats, long blocks)
      : data(data), lines(data ? floats / LANES : 0), share((lines + blocks - 1) / blocks) {}
  INLINE_MEMBER void some() {
    for (long i = 0; i < share && lines > 0; i++, lines--, data += LANES) prefetch_l2(data);
  }
};

// Rows [first, last) of a panel, whole blocks, into rows of `width` at `c`, whose first row is row 0. A deep reduction
// goes in parts, so that a part of the right operand stays in the first cache. `ahead` is what the next panel reads;
// `ends(m)` says where the sums of the eight rows from m on start and end.
template <End end, class EndsOf>
INLINE void panel(const Left& left, long first, long last, long depth, const float* b, int width, float* c, Ahead ahead,
                  EndsOf ends) {
  for (long k = 0; k < depth; k += DEPTH) {
    const long part = depth - k < DEPTH ? depth - k : DEPTH;
    const float* from = left.data + k / PANEL * left.segment_stride;
    for (long m = first; m < last; m += BLOCK) {
      ahead.some();
      const float* a = from + m * left.row_stride;
      if (k + DEPTH >= depth)
        block<end>(left, a, part, b + k * width, width, c + m * width, k > 0, ends(m));
      else
        block<KEEP_ALL>(left, a, part, b + k * width, width, c + m * width, k > 0, ends(m));
    }
  }
}

}  // namespace sacpipe
