// The product: a tile of rows x columns, each number one chain of multiply-adds along the reduction.
//
// Operands are words of 32 bits: one float32, or two bfloat16 that are neighbours along the reduction.
#pragma once
#include "kernel.h"

namespace sacpipe {

INLINE long panels(long features) { return (features + PANEL - 1) / PANEL; }

// Operands in float32.
struct Float32 {
  typedef float Word;
  typedef V Vector;
  static constexpr int SEGMENT = PANEL;  // words of 32 numbers along the reduction
  static INLINE_MEMBER V load_words(const float* p) { return load(p); }
  static INLINE_MEMBER V spread_word(float a) { return spread(a); }
  static INLINE_MEMBER V add_product(V a, V b, V c) { return fma(a, b, c); }
};

// The left operand of a product: word (row, k) is at row * row_stride + (k / SEGMENT) * segment_stride +
// (k % SEGMENT) * k_stride.
template <class Operands>
struct Left {
  const typename Operands::Word* data;
  long row_stride, k_stride, segment_stride;
};

// Where the sums of a tile start: at zero without data, and at the same numbers in every row with a stride of zero.
struct Start {
  const float* data;
  long row_stride;
};

// What a tile does beside its product, between two segments of the reduction.
struct Nothing {
  INLINE_MEMBER void some() {}
};

// Sums of A[R][depth] B[depth][16 N], which `end` takes; never inlined, so that the sums stay in registers whatever
// surrounds it.
template <class Operands, int R, int N, class End, class Aside>
__attribute__((noinline)) void tile(const typename Operands::Word* a, const Left<Operands>& left, long depth,
                                    const typename Operands::Word* b, long b_stride, Start start, End end,
                                    Aside& aside) {
  V sums[R][N];
  if (start.data) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
      for (int j = 0; j < N; j++) sums[r][j] = load(start.data + r * start.row_stride + j * LANES);
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
      for (int j = 0; j < N; j++) sums[r][j] = zero();
  }
  constexpr long SEGMENT = Operands::SEGMENT;
  const long row_stride = left.row_stride, k_stride = left.k_stride, jump = left.segment_stride - SEGMENT * k_stride;
  for (long from = 0; from < depth; from += SEGMENT, a += jump) {
    const long n = depth - from < SEGMENT ? depth - from : SEGMENT;
    for (long k = 0; k < n; k++, a += k_stride, b += b_stride) {
      typename Operands::Vector right[N];
#pragma GCC unroll 2
      for (int j = 0; j < N; j++) right[j] = Operands::load_words(b + j * LANES);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const typename Operands::Vector one = Operands::spread_word(a[r * row_stride]);
#pragma GCC unroll 2
        for (int j = 0; j < N; j++) sums[r][j] = Operands::add_product(one, right[j], sums[r][j]);
      }
    }
    aside.some();
  }
  end.take(sums);
}

// What becomes of sums in float32.
enum Keep { ALL, POSITIVE, ACTIVE };

template <Keep keep>
struct StoreFloats {
  float* to;
  long row_stride;
  const float* const* active;  // of every row: where they are not positive, the sums of ACTIVE become zero
  long column;
  INLINE_MEMBER StoreFloats at(int r, int j) const {
    return {to + r * row_stride + j, row_stride, active ? active + r : nullptr, column + j};
  }
  template <int R, int N>
  INLINE_MEMBER void take(V (&sums)[R][N]) const {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
      for (int j = 0; j < N; j++) {
        V x = sums[r][j];
        if (keep == POSITIVE) x = max(zero(), x);
        if (keep == ACTIVE) x = where_positive(load(active[r] + column + j * LANES), x);
        store(to + r * row_stride + j * LANES, x);
      }
  }
};

// Eight rows of a panel of `width` columns, 16 or 32, in tiles of the instruction set's size.
template <class Operands, class End, class Aside>
INLINE void block(const Left<Operands>& left, const typename Operands::Word* a, long depth,
                  const typename Operands::Word* b, int width, Start start, const End& end, Aside& aside) {
  for (int r = 0; r < BLOCK; r += TILE_ROWS)
    for (int j = 0; j < width; j += TILE_VECTORS * LANES) {
      const typename Operands::Word* at = a + r * left.row_stride;
      const Start from = {start.data ? start.data + r * start.row_stride + j : nullptr, start.row_stride};
      if (TILE_VECTORS == 2 && width == LANES)
        tile<Operands, TILE_ROWS, 1>(at, left, depth, b, width, from, end.at(r, j), aside);
      else
        tile<Operands, TILE_ROWS, TILE_VECTORS>(at, left, depth, b + j, width, from, end.at(r, j), aside);
    }
}

// Fetches memory that is needed later into the second cache, a share with every block of rows.
struct Ahead {
  const float* data = nullptr;
  long lines = 0, share = 0;
  Ahead() {}
  Ahead(const void* data, long words, long blocks)
      : data((const float*)data), lines(data ? words / LANES : 0), share((lines + blocks - 1) / blocks) {}
  INLINE_MEMBER void some() {
    for (long i = 0; i < share && lines > 0; i++, lines--, data += LANES) prefetch_l2(data);
  }
};

constexpr int DEPTH = 256;  // floats of the reduction for which a panel of the right operand stays in the first cache

// Rows [first, last) of a panel in float32, whole blocks, into rows of `width` at `c`, whose first row is row 0. A deep
// reduction goes in parts, so that a part of the right operand stays in the first cache. `ahead` is what the next panel
// reads; `active(m)` are the rows of numbers that say which sums of the eight rows from m on are kept.
template <Keep keep, class Active, class Aside = Nothing>
INLINE void panel(const Left<Float32>& left, long first, long last, long depth, const float* b, int width,
                  const float* bias, float* c, Ahead ahead, Active active) {
  Nothing nothing;
  for (long k = 0; k < depth; k += DEPTH) {
    const long part = depth - k < DEPTH ? depth - k : DEPTH;
    const float* from = left.data + k / PANEL * left.segment_stride;
    for (long m = first; m < last; m += BLOCK) {
      ahead.some();
      const float* a = from + m * left.row_stride;
      float* to = c + m * width;
      const Start start = k > 0 ? Start{to, width} : Start{bias, 0};
      if (k + DEPTH >= depth) {
        const float* rows[BLOCK];
        if (keep == ACTIVE) active(m, rows);
        block(left, a, part, b + k * width, width, start, StoreFloats<keep>{to, width, rows, 0}, nothing);
      } else {
        block(left, a, part, b + k * width, width, start, StoreFloats<ALL>{to, width, nullptr, 0}, nothing);
      }
    }
  }
}

}  // namespace sacpipe
