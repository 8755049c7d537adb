// Layers of perceptrons with products of bfloat16; parameters, moments, sums, values and their gradients are float32.
//
// As dense.cpp, but operands are rounded to bfloat16 and packed in words of two (tile_bf16.h), and weights have rounded
// copies: [members][panels of outputs][padded inputs / 2][width words] forwards, and turned
// [members][panels of inputs][panels of outputs][width / 2][32 words] backwards.
#ifdef SACPIPE_ISA_AVX512_BF16
#include "adam.h"
#include "tile_bf16.h"

namespace sacpipe {

// Rounds panels of numbers, to rows and turned, of which either may be null. A unit is eight rows of a part.
#define ROUND_BF16(X)                                                                              \
  X(const float*, input, own) X(uint32_t*, output, out) X(uint32_t*, output_turned, out)           \
  X(int64_t, parts, number) X(int64_t, rows, number) X(int64_t, features, number) X(int64_t, width, number)
KERNEL(RoundBf16, "round_bf16", rows, ROUND_BF16)

long RoundBf16::units() const { return parts * blocks(rows); }

void RoundBf16::run(long lo, long hi, Worker&) const {
  const long count = (features + width - 1) / width, height = padded(rows);
  each_member(lo, hi, blocks(rows), [&](long part, long first, long last) {
    for (long n = 0; n < count; n++) {
      const long start = (part * count + n) * height;
      for (long m = start + first * BLOCK; m < start + last * BLOCK; m += BLOCK) {
        const float* x = input + m * width;
        uint32_t* to = output ? output + m * width / 2 : nullptr;
        uint32_t* turned = output_turned ? output_turned + m / 2 * width : nullptr;
        if (width == PANEL) {
          Pairs pairs[BLOCK];
          for (int r = 0; r < BLOCK; r++) pairs[r] = beside(load(x + r * width), load(x + r * width + LANES));
          store_pairs(pairs, to, turned);
        } else {
          for (int r = 0; to && r < BLOCK; r++) store_half(to + r * LANES / 2, beside(load(x + r * LANES), zero()));

          for (int r = 0; turned && r < BLOCK; r += 2)
            store(turned + r / 2 * LANES, below(load(x + r * LANES), load(x + (r + 1) * LANES)));
        }
      }
    }
  });
}

// A layer with a ReLU, or without one and then in float32: `floats`. With `value_weights` the values of a last layer of
// one output too. A unit is eight rows of a member.
#define DENSE_BF16(X)                                                                               \
  X(const uint32_t*, input, own) X(const uint32_t*, weights, all) X(const float*, bias, all)        \
  X(uint32_t*, output, out) X(uint32_t*, output_turned, out) X(float*, floats, out)                 \
  X(const float*, value_weights, all) X(const float*, value_bias, all) X(float*, values, out)       \
  X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, inputs, number)                   \
  X(int64_t, outputs, number) X(int64_t, width, number) X(int64_t, input_stride, number)
KERNEL(DenseBf16, "dense_bf16", rows, DENSE_BF16)

long DenseBf16::units() const { return members * blocks(rows); }

constexpr long CHUNK = SCRATCH / LANES;  // rows whose chains of values fit in the scratch memory

void DenseBf16::run(long lo, long hi, Worker& worker) const {
  const long count = (outputs + width - 1) / width, height = padded(rows), held = padded(inputs) / 2;
  Nothing nothing;
  const auto some = [&](long c, long first, long last) {
    const Left<Bfloat16> left = {input + c * input_stride, PANEL / 2, 1, height * PANEL / 2};
    for (long n = 0; n < count; n++) {
      const long place = c * count + n, start = place * height;
      const uint32_t* w = weights + place * held * width;
      const Start from = {bias + place * width, 0};
      Ahead ahead(n + 1 < count ? w + held * width : nullptr, held * width, (last - first) / BLOCK);
      for (long m = first; m < last; m += BLOCK) {
        ahead.some();
        const uint32_t* a = left.data + m * left.row_stride;
        if (floats) {
          const StoreFloats<ALL> end = {floats + (start + m) * width, width, nullptr, 0};
          block(left, a, words(inputs), w, width, from, end, nothing);
          continue;
        }
        const StorePairs<POSITIVE> pairs = {output ? output + (start + m) * PANEL / 2 : nullptr,
                                            output_turned ? output_turned + (start + m) / 2 * PANEL : nullptr, nullptr};
        if (values) {
          const StoreValues end = {pairs, value_weights + place * PANEL, worker.scratch + (m - first) * LANES, n > 0};
          tile<Bfloat16, BLOCK, 2>(a, left, words(inputs), w, PANEL, from, end, nothing);
        } else {
          tile<Bfloat16, BLOCK, 2>(a, left, words(inputs), w, PANEL, from, pairs, nothing);
        }
      }
    }
    if (values)
      for (long m = first; m < last; m++)
        values[c * height + m] = sum(load(worker.scratch + (m - first) * LANES)) + value_bias[c * LANES];
  };
  each_member(lo, hi, blocks(rows), [&](long c, long first, long last) {
    for (long m = first * BLOCK; m < last * BLOCK; m += CHUNK) some(c, m, m + CHUNK < last * BLOCK ? m + CHUNK : last * BLOCK);
  });
}

// Gradient with respect to a layer's input: (d W^T) where h > 0; or without the mask and then in float32: `floats`.
// Arguments and units as of dense_back.
#define DENSE_BACK_BF16(X)                                                                        \
  X(const uint32_t*, delta, own) X(const uint32_t*, turned, all) X(const uint32_t*, mask, all)    \
  X(uint32_t*, output, out) X(uint32_t*, output_turned, out) X(float*, floats, out)               \
  X(const int32_t*, lists, all) X(const int32_t*, counts, all)                                    \
  X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, inputs, number)                 \
  X(int64_t, outputs, number) X(int64_t, delta_width, number) X(int64_t, width, number)           \
  X(int64_t, delta_rows, number) X(int64_t, mask_rows, number)
KERNEL(DenseBackBf16, "dense_back_bf16", rows, DENSE_BACK_BF16)

long DenseBackBf16::units() const { return Listed{counts, members, rows}.units(); }

void DenseBackBf16::run(long lo, long hi, Worker&) const {
  const long count = (inputs + width - 1) / width, height = padded(rows), half = delta_width / 2;
  const long deltas = (outputs + delta_width - 1) / delta_width, depth = deltas * half;
  Nothing nothing;
  Listed{counts, members, rows}.each(lo, hi, [&](long c, long first, long last) {
    const Left<Bfloat16> left = {delta + c * deltas * padded(delta_rows) * half, half, 1, padded(delta_rows) * half};
    const int32_t* list = lists ? lists + c * height : nullptr;
    for (long n = 0; n < count; n++) {
      const long place = c * count + n, start = place * height;
      const uint32_t* h = mask ? mask + place * padded(mask_rows) * PANEL / 2 : nullptr;
      const uint32_t* w = turned + place * depth * width;
      Ahead ahead(n + 1 < count ? w + depth * width : nullptr, depth * width, (last - first) / BLOCK);
      for (long m = first; m < last; m += BLOCK) {
        ahead.some();
        const uint32_t* a = left.data + m * half;
        if (floats) {
          const StoreFloats<ALL> end = {floats + (start + m) * width, width, nullptr, 0};
          block(left, a, words(outputs), w, width, Start{nullptr, 0}, end, nothing);
          continue;
        }
        const uint32_t* active[BLOCK];
        for (int r = 0; r < BLOCK; r++) active[r] = h + (list ? list[m + r] : m + r) * PANEL / 2;
        const StorePairs<ACTIVE> end = {output + (start + m) * PANEL / 2,
                                        output_turned ? output_turned + (start + m) / 2 * PANEL : nullptr, active};
        tile<Bfloat16, BLOCK, 2>(a, left, words(outputs), w, PANEL, Start{nullptr, 0}, end, nothing);
      }
    }
  });
}

// Rounded copies of blocks of a panel of weights.
struct PairCopies {
  uint32_t *packed, *slow_packed;  // of the panel; the second may be null
  uint32_t* turned;                // of the panel's first output; null for none
  long turned_panel;               // words from one panel of inputs to the next
  template <int N>
  INLINE_MEMBER void pack_rows(long k, const float* parameters, const float* slow) const {
#pragma GCC unroll 2
    for (int j = 0; j < N; j++) {
      const long at = (k / 2 * N + j) * LANES;
      store(packed + at, below(load(parameters + j * LANES), load(parameters + (N + j) * LANES)));
      if (slow_packed) store(slow_packed + at, below(load(slow + j * LANES), load(slow + (N + j) * LANES)));
    }
  }
  template <int N>
  INLINE_MEMBER void turn_rows(long k, const float* parameters) const {
    if (!turned) return;
    float pairs[BLOCK * LANES];
#pragma GCC unroll 8
    for (int r = 0; r < BLOCK; r++) {
      const float* row = parameters + r * N * LANES;
      store((uint32_t*)pairs + r * LANES, beside(load(row), N == 2 ? load(row + (N - 1) * LANES) : zero()));
    }
    float* to = (float*)turned + k / PANEL * turned_panel + k % PANEL;
#pragma GCC unroll 2
    for (int j = 0; j < N; j++) transpose8(pairs + j * BLOCK, LANES, to + j * BLOCK * PANEL, PANEL);
  }
};

template <int N>
struct PairCopiesOf : PairCopies {
  INLINE_MEMBER void pack(long k, const float* parameters, const float* slow) const { pack_rows<N>(k, parameters, slow); }
  INLINE_MEMBER void turn(long k, const float* parameters) const { turn_rows<N>(k, parameters); }
};

// Gradient of a layer's weights and biases, Adam, slow copies, rounded copies; as dense_step. A unit is a panel of
// outputs of a member. `input` and `delta` are turned.
#define DENSE_STEP_BF16(X)                                                                                \
  X(const uint32_t*, input, all) X(const uint32_t*, delta, all) X(float*, weights, out) X(float*, bias, out) \
  X(float*, weight_means, out) X(float*, weight_squares, out) X(float*, bias_means, out)                  \
  X(float*, bias_squares, out) X(float*, slow_weights, out) X(float*, slow_bias, out)                     \
  X(uint32_t*, packed, out) X(uint32_t*, slow_packed, out) X(uint32_t*, turned, out)                      \
  X(float*, squares, out) X(Scalar, step, all) X(int64_t, members, number)                                \
  X(int64_t, rows, number) X(int64_t, inputs, number) X(int64_t, outputs, number)                         \
  X(int64_t, width, number) X(int64_t, input_stride, number) X(int64_t, input_rows, number)
KERNEL(DenseStepBf16, "dense_step_bf16", panels, DENSE_STEP_BF16)

long DenseStepBf16::units() const { return members * ((outputs + width - 1) / width); }

void DenseStepBf16::run(long lo, long hi, Worker& worker) const {
  const long count = (outputs + width - 1) / width, height = padded(rows), depth = padded(inputs);
  for (long unit = lo; unit < hi; unit++) {
    const long c = unit / count, n = unit % count, start = unit * depth * width;
    const uint32_t* d = delta + unit * height / 2 * width;
    V squared = zero();
    for (int j = 0; j < width; j += LANES) {
      V chains[4] = {zero(), zero(), zero(), zero()};  // four, so that they hide each other's latency
      for (long m = 0; m < height / 2; m += 4)
        for (int i = 0; i < 4; i++)
          chains[i] = add_products(spread(0x3F803F80u), load(d + (m + i) * width + j), chains[i]);
      const V g = (chains[0] + chains[1]) + (chains[2] + chains[3]);
      squared = fma(g, g, squared);
      adam(bias, unit * width + j, {bias_means, bias_squares, slow_bias}, g, step);
    }
    const Moments moments = {weight_means + start, weight_squares + start, slow_weights ? slow_weights + start : nullptr};
    const long part = width / 2 * PANEL;  // words of a panel's turned copy in a panel of inputs
    const PairCopies copies = {packed + start / 2, slow_packed ? slow_packed + start / 2 : nullptr,
                               turned ? turned + (c * panels(inputs) * count + n) * part : nullptr, count * part};
    const auto left = [&](long k) {
      const uint32_t* x = input + c * input_stride + k / PANEL * padded(input_rows) / 2 * PANEL + k % PANEL;
      return Left<Bfloat16>{x, 1, PANEL, PANEL * PANEL / 2};
    };
    if (width == PANEL)
      squared = step_panel<Bfloat16, 2>(
          BlockStep<2, PairCopiesOf<2>>{weights + start, moments, step, {copies}, worker.scratch, squared, depth}, left,
          words(rows), d);
    else
      squared = step_panel<Bfloat16, 1>(
          BlockStep<1, PairCopiesOf<1>>{weights + start, moments, step, {copies}, worker.scratch, squared, depth}, left,
          words(rows), d);
    store(squares + unit * LANES, squared);
  }
}

// Gradient with respect to the input of a layer with one output; as value_back.
#define VALUE_BACK_BF16(X)                                                                    \
  X(const float*, delta, all) X(const float*, weights, all) X(const uint32_t*, mask, all)     \
  X(uint32_t*, output, out) X(uint32_t*, output_turned, out) X(const int32_t*, lists, all)    \
  X(const int32_t*, counts, all) X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, inputs, number)
KERNEL(ValueBackBf16, "value_back_bf16", rows, VALUE_BACK_BF16)

long ValueBackBf16::units() const { return Listed{counts, members, rows}.units(); }

void ValueBackBf16::run(long lo, long hi, Worker&) const {
  const long count = panels(inputs), height = padded(rows);
  Listed{counts, members, rows}.each(lo, hi, [&](long c, long first, long last) {
    const int32_t* list = lists ? lists + c * height : nullptr;
    for (long n = 0; n < count; n++) {
      const long place = c * count + n, start = place * height;
      const V left = load(weights + place * PANEL), right = load(weights + place * PANEL + LANES);
      for (long m = first; m < last; m += BLOCK) {
        Pairs pairs[BLOCK];
#pragma GCC unroll 8
        for (int r = 0; r < BLOCK; r++) {
          const long at = list ? list[m + r] : m + r;
          const V d = spread(delta[c * height + at]);
          pairs[r] = where_positive(load(mask + (start + at) * PANEL / 2), beside(d * left, d * right));
        }
        store_pairs(pairs, output + (start + m) * PANEL / 2,
                    output_turned ? output_turned + (start + m) / 2 * PANEL : nullptr);
      }
    }
  });
}

// Step of a layer with one output; as value_step, with the turned activations.
#define VALUE_STEP_BF16(X)                                                                                 \
  X(const uint32_t*, input, all) X(const float*, delta, all) X(float*, weights, out) X(float*, bias, out)  \
  X(float*, weight_means, out) X(float*, weight_squares, out) X(float*, bias_means, out)                   \
  X(float*, bias_squares, out) X(float*, slow_weights, out) X(float*, slow_bias, out)                      \
  X(float*, squares, out) X(Scalar, step, all) X(int64_t, members, number) X(int64_t, rows, number)        \
  X(int64_t, inputs, number)
KERNEL(ValueStepBf16, "value_step_bf16", panels, VALUE_STEP_BF16)

long ValueStepBf16::units() const { return members * panels(inputs); }

void ValueStepBf16::run(long lo, long hi, Worker&) const {
  const long count = panels(inputs), height = padded(rows);
  for (long unit = lo; unit < hi; unit++) {
    const long c = unit / count;
    const uint32_t* h = input + unit * height / 2 * PANEL;
    const float* d = delta + c * height;
    V sums[2] = {zero(), zero()}, squared = zero();
    for (long m = 0; m < rows; m += 2)  // a row after the last has a delta of zero
      for (int j = 0; j < 2; j++) {
        const Pairs both = load(h + m / 2 * PANEL + j * LANES);
        sums[j] = fma(spread(d[m]), first(both), sums[j]);
        sums[j] = fma(spread(d[m + 1]), second(both), sums[j]);
      }
    for (int j = 0; j < 2; j++) {
      squared = fma(sums[j], sums[j], squared);
      adam(weights, unit * PANEL + j * LANES, {weight_means, weight_squares, slow_weights}, sums[j], step);
    }
    if (unit % count == 0) squared = step_value_bias(*this, d, c, squared);
    store(squares + unit * LANES, squared);
  }
}

// Rounded turned copy of some columns of the first layer's weights; as turn_inputs, but for pairs of outputs:
// [members][panels of columns][panels of outputs][width / 2][turned_width words].
#define TURN_INPUTS_BF16(X)                                                                         \
  X(const float*, weights, own) X(uint32_t*, turned, out) X(int64_t, members, number)               \
  X(int64_t, inputs, number) X(int64_t, outputs, number) X(int64_t, width, number)                  \
  X(int64_t, first, number) X(int64_t, columns, number) X(int64_t, turned_width, number)
KERNEL(TurnInputsBf16, "turn_inputs_bf16", panels, TURN_INPUTS_BF16)

long TurnInputsBf16::units() const { return members * ((outputs + width - 1) / width); }

void TurnInputsBf16::run(long lo, long hi, Worker&) const {
  const long count = (outputs + width - 1) / width, depth = padded(inputs);
  const long parts = (columns + turned_width - 1) / turned_width;
  for (long unit = lo; unit < hi; unit++)
    for (long a = 0; a < columns; a++) {
      const float* from = weights + (unit * depth + first + a) * width;
      uint32_t pairs[LANES];
      store(pairs, beside(load(from), width == PANEL ? load(from + LANES) : zero()));
      const long c = unit / count, n = unit % count, panel = (c * parts + a / turned_width) * count + n;
      uint32_t* to = turned + panel * width / 2 * turned_width + a % turned_width;
      for (long j = 0; j < width / 2; j++) to[j * turned_width] = pairs[j];
    }
}

}  // namespace sacpipe
#endif
