// One observation through a policy's network, and the elementary functions for single arrays.
#include <cstring>

#include "elementary.h"
#include "kernel.h"
#include "norm.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace sacpipe {
namespace {

struct Layer {
  const float *weights, *bias;  // panels as of dense.cpp
  int64_t inputs, outputs, width, relu;
  const float *norm_weights, *norm_bias;  // null without a normalisation, which has its own ReLU
};

// `P` panels of 32 columns at once, so that the chains of several panels hide each other's latency.
template <int P>
INLINE void some_panels(const Layer& layer, long n, const float* x, float* y) {
  const long depth = padded(layer.inputs);
  V sums[P][2];
  for (int p = 0; p < P; p++)
    for (int j = 0; j < 2; j++) sums[p][j] = load(layer.bias + (n + p) * PANEL + j * LANES);
  const float* w = layer.weights + n * depth * PANEL;
  for (long k = 0; k < layer.inputs; k++) {
    const V one = spread(x[k]);
#pragma GCC unroll 4
    for (int p = 0; p < P; p++)
#pragma GCC unroll 2
      for (int j = 0; j < 2; j++) sums[p][j] = fma(one, load(w + p * depth * PANEL + k * PANEL + j * LANES), sums[p][j]);
  }
  for (int p = 0; p < P; p++)
    for (int j = 0; j < 2; j++)
      store(y + (n + p) * PANEL + j * LANES, layer.relu ? max(zero(), sums[p][j]) : sums[p][j]);
}

void one_row(const Layer& layer, const float* x, float* y) {
  if (layer.width == LANES) {
    V sums = load(layer.bias);
    for (long k = 0; k < layer.inputs; k++) sums = fma(spread(x[k]), load(layer.weights + k * LANES), sums);
    store(y, layer.relu ? max(zero(), sums) : sums);
    return;
  }
  constexpr int MOST = TILE_VECTORS == 2 ? 4 : 2;
  const long count = (layer.outputs + PANEL - 1) / PANEL;
  long n = 0;
  for (; n + MOST <= count; n += MOST) some_panels<MOST>(layer, n, x, y);
  for (; n < count; n++) some_panels<1>(layer, n, x, y);
}

}  // namespace
}  // namespace sacpipe

using namespace sacpipe;

// Output of a network for one row. `memory` has room for two rows of the widest layer, padded to panels of 32.
EXPORT void sacpipe_forward(const int64_t* layers, int64_t count, const float* x, float* memory, int64_t row_floats,
                            float* output) {
  FlushDenormals flush;
  const Layer* all = (const Layer*)layers;
  const float* from = x;
  for (int64_t i = 0; i < count; i++) {
    float* to = memory + (i % 2) * row_floats;
    one_row(all[i], from, to);
    if (all[i].norm_weights) normalise(Features(all[i].outputs), 1, to, to, all[i].norm_weights, all[i].norm_bias);
    from = to;
  }
  memcpy(output, from, all[count - 1].outputs * sizeof(float));
}

enum Function { EXPONENTIAL, LOGARITHM, LOG_ONE_PLUS, HYPERBOLIC_TANGENT };

// An elementary function of every number.
EXPORT void sacpipe_elementary(int function, const float* x, float* y, int64_t count) {
  FlushDenormals flush;
  for (int64_t i = 0; i < count; i += LANES) {
    const int64_t n = count - i < LANES ? count - i : LANES;
    float a[LANES];
    for (int k = 0; k < LANES; k++) a[k] = 0.5f;
    memcpy(a, x + i, n * sizeof(float));
    V v = load(a);
    v = function == EXPONENTIAL ? exponential(v)
        : function == LOGARITHM ? logarithm(v)
        : function == LOG_ONE_PLUS ? log_one_plus(v)
                                   : hyperbolic_tangent(v);
    store(a, v);
    memcpy(y + i, a, n * sizeof(float));
  }
}
