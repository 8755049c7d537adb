// Operands in bfloat16, and what becomes of a tile's sums where a product takes them.
//
// A matrix of numbers [rows][features] is kept twice where both products need it:
//   rows    [panels][rows][16 words] of neighbouring features: the left operand forwards and backwards;
//   turned  [panels][rows / 2][32 words] of neighbouring rows: both operands of the weights' gradient.
// A panel of 16 features has rows of 8 and 16 words.
#pragma once
#include "tile.h"
#include "vector_bf16.h"

namespace sacpipe {

INLINE long words(long numbers) { return (numbers + 1) / 2; }

struct Bfloat16 {
  typedef uint32_t Word;
  typedef Pairs Vector;
  static constexpr int SEGMENT = PANEL / 2;
  static INLINE_MEMBER Pairs load_words(const uint32_t* p) { return load(p); }
  static INLINE_MEMBER Pairs spread_word(uint32_t a) { return spread(a); }
  static INLINE_MEMBER V add_product(Pairs a, Pairs b, V c) { return add_products(a, b, c); }
};
static_assert(TILE_ROWS == BLOCK && TILE_VECTORS * LANES == PANEL, "a tile is a block of a panel");

// Writes eight rows of a panel of 32 features that are rounded already.
INLINE void store_pairs(const Pairs (&pairs)[BLOCK], uint32_t* rows, uint32_t* turned) {
  if (rows)
#pragma GCC unroll 8
    for (int r = 0; r < BLOCK; r++) store(rows + r * LANES, pairs[r]);
  if (turned)
#pragma GCC unroll 4
    for (int r = 0; r < BLOCK; r += 2) {
      store(turned + r / 2 * PANEL, lower_below(pairs[r], pairs[r + 1]));
      store(turned + r / 2 * PANEL + LANES, upper_below(pairs[r], pairs[r + 1]));
    }
}

// Rounds the sums of eight rows, after the ReLU (POSITIVE) or where rows of pairs are positive (ACTIVE).
template <Keep keep>
struct StorePairs {
  uint32_t *rows, *turned;  // either may be null
  const uint32_t* const* active;
  INLINE_MEMBER StorePairs at(int, int) const { return *this; }
  INLINE_MEMBER void take(V (&sums)[BLOCK][2]) const {
    Pairs pairs[BLOCK];
#pragma GCC unroll 8
    for (int r = 0; r < BLOCK; r++) {
      if (keep == POSITIVE) sums[r][0] = max(zero(), sums[r][0]), sums[r][1] = max(zero(), sums[r][1]);
      pairs[r] = beside(sums[r][0], sums[r][1]);
      if (keep == ACTIVE) pairs[r] = where_positive(load(active[r]), pairs[r]);
    }
    store_pairs(pairs, rows, turned);
  }
};

// As the ReLU of StorePairs, and adds the products with the weights of a last layer of one output, from the sums before
// their rounding.
struct StoreValues {
  StorePairs<POSITIVE> pairs;
  const float* weights;  // of the panel
  float* values;         // sixteen chains of every row
  bool resumes;
  INLINE_MEMBER StoreValues at(int, int) const { return *this; }
  INLINE_MEMBER void take(V (&sums)[BLOCK][2]) const {
    const V left = load(weights), right = load(weights + LANES);
#pragma GCC unroll 8
    for (int r = 0; r < BLOCK; r++) {
      V chain = resumes ? load(values + r * LANES) : zero();
      chain = fma(max(zero(), sums[r][0]), left, chain);
      chain = fma(max(zero(), sums[r][1]), right, chain);
      store(values + r * LANES, chain);
    }
    pairs.take(sums);
  }
};

}  // namespace sacpipe
