// Adam's step, made for a block of sums while the sums of the next block are formed.
#pragma once
#include "tile.h"

namespace sacpipe {

// One step of Adam (Kingma & Ba 2014, algorithm 1; Loshchilov & Hutter 2019 for the decay) for sixteen numbers, and the
// step of their slow copies. The caller writes the numbers of the step:
enum Step { MEAN_RATE, SQUARE_DECAY, SQUARE_RATE, STEP_SIZE, SQUARE_SCALE, EPSILON, KEEP, TAU };

struct Moments {
  float *mean, *square, *slow;  // slow copies may be null
};

INLINE V adam(float* parameter, long at, const Moments& moments, V g, const float* step) {
  V p = load(parameter + at), m = load(moments.mean + at), v = load(moments.square + at);
  m = fma(spread(step[MEAN_RATE]), g - m, m);
  v = fma(spread(step[SQUARE_RATE]) * g, g, spread(step[SQUARE_DECAY]) * v);
  V scale = fma(square_root(v), spread(step[SQUARE_SCALE]), spread(step[EPSILON]));
  p = p * spread(step[KEEP]) - spread(step[STEP_SIZE]) * m / scale;
  store(moments.mean + at, m), store(moments.square + at, v), store(parameter + at, p);
  if (moments.slow && step[TAU] != 0.f) {  // 0 leaves it beside a parameter that overflowed
    V t = load(moments.slow + at);
    store(moments.slow + at, fma(spread(step[TAU]), p - t, t));
  }
  return p;
}

// Steps the bias of a member of a layer with one output, whose gradient is the sum of deltas, and adds its square.
template <class Call>
INLINE V step_value_bias(const Call& call, const float* deltas, long member, V squared) {
  float lanes[LANES] = {};
  for (long m = 0; m < call.rows; m++) lanes[0] = lanes[0] + deltas[m];
  const V g = load(lanes);
  adam(call.bias, member * LANES, {call.bias_means, call.bias_squares, call.slow_bias}, g, call.step);
  return fma(g, g, squared);
}

// The step of a block of eight rows of parameters, one row at a time, with its copies. The memory of the next block is
// fetched meanwhile. Dividers and memory are busy then beside the multipliers.
template <int N, class Copies>
struct BlockStep {
  static constexpr int WIDTH = N * LANES;
  float* parameters;  // of the panel; their moments are at the same places
  Moments moments;
  const float* step;
  Copies copies;
  float* sums;      // two blocks: gradients, and then parameters
  V squared;        // sums of the squared gradients
  long end;         // rows of the panel
  long k = -BLOCK;  // first row of the block
  int done = BLOCK;  // rows of it

  INLINE_MEMBER float* block_sums(long row) const { return sums + row / BLOCK % 2 * BLOCK * WIDTH; }
  INLINE_MEMBER void some() {
    if (done == BLOCK) return;
    float* at = block_sums(k) + done * WIDTH;
    const long from = (k + done) * WIDTH;
#pragma GCC unroll 2
    for (int j = 0; j < N; j++) {
      const V g = load(at + j * LANES);
      squared = fma(g, g, squared);
      store(at + j * LANES, adam(parameters, from + j * LANES, moments, g, step));
    }
    fetch(k + BLOCK + done, 1);
    if (done % 2) copies.pack(k + done - 1, at - WIDTH, moments.slow ? moments.slow + from - WIDTH : nullptr);
    if (done == BLOCK - 1) copies.turn(k, block_sums(k));
    done++;
  }
  INLINE_MEMBER void rest() {
    while (done < BLOCK) some();
  }
  // The sums of the block at `row` are ready.
  INLINE_MEMBER void next(long row) { rest(), k = row, done = 0; }
  INLINE_MEMBER void fetch(long row, long rows) const {
    if (row >= end) return;
    for (long i = row * WIDTH; i < (row + rows) * WIDTH; i += LANES) {
      prefetch(parameters + i), prefetch(moments.mean + i), prefetch(moments.square + i);
      if (moments.slow) prefetch(moments.slow + i);
    }
  }
};

// Steps a panel of weights [end][16 N]: `left(k)` has the rows of the transposed input for the block at k, and `delta`
// is the panel of deltas. Returns sixteen partial sums of the squared gradient.
template <class Operands, int N, class LeftOf, class Copies>
INLINE V step_panel(BlockStep<N, Copies> block_step, LeftOf left_of, long depth, const typename Operands::Word* delta) {
  constexpr int WIDTH = N * LANES;
  block_step.fetch(0, BLOCK);
  for (long k = 0; k < block_step.end; k += BLOCK) {
    const Left<Operands> left = left_of(k);
    const StoreFloats<ALL> end = {block_step.block_sums(k), WIDTH, nullptr, 0};
    block(left, left.data, depth, delta, WIDTH, Start{nullptr, 0}, end, block_step);
    block_step.next(k);
  }
  block_step.rest();
  return block_step.squared;
}

}  // namespace sacpipe
