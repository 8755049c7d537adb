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

// C[R][16 N] += A[R][K] B[K][16 N]; never inlined, so that the sums stay in registers whatever surrounds it.
template <int R, int N>
__attribute__((noinline)) void tile(const float* a, const Left& left, long depth, const float* b, long b_stride,
                                    float* c, long c_stride) {
  V sums[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 2
    for (int j = 0; j < N; j++) sums[r][j] = load(c + r * c_stride + j * LANES);
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
    for (int j = 0; j < N; j++) store(c + r * c_stride + j * LANES, sums[r][j]);
}

// C[rows][width] += A B for a panel of `width` columns (16 or 32), in tiles of the instruction set's size.
// C has rows of `width` floats; rows is a multiple of BLOCK.
INLINE void block(const Left& left, const float* a, long depth, const float* b, int width, float* c, long rows) {
  for (long r = 0; r < rows; r += TILE_ROWS)
    for (int j = 0; j < width; j += TILE_VECTORS * LANES) {
      const float* at = a + r * left.row_stride;
      if (TILE_VECTORS == 2 && width == LANES)
        tile<TILE_ROWS, 1>(at, left, depth, b, width, c + r * width, width);
      else
        tile<TILE_ROWS, TILE_VECTORS>(at, left, depth, b + j, width, c + r * width + j, width);
    }
}

// All rows of a panel. `start(m, c)` writes the first sums of eight rows, `end(m, c)` takes the last ones. A deep
// reduction goes in parts, between which the sums are in scratch.
template <class Start, class End>
INLINE void panel(const Left& left, long first, long last, long depth, const float* b, int width, float* scratch,
                  Start start, End end) {
  for (long k = 0; k < depth || k == 0; k += DEPTH) {
    const long part = depth - k < DEPTH ? depth - k : DEPTH;
    const bool is_first = k == 0, is_last = k + DEPTH >= depth, is_whole = is_first && is_last;
    for (long m = first; m < last; m += BLOCK) {
      float* c = is_whole ? scratch : scratch + (m - first) * width;
      if (is_first) start(m, c);
      block(left, left.data + m * left.row_stride + k / PANEL * left.segment_stride, part, b + k * width, width, c,
            BLOCK);
      if (is_last) end(m, c);
    }
  }
}

}  // namespace sacpipe
