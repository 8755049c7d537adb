// Layer normalisation beside the ReLU (Ba et al. 2016, arXiv:1607.06450, eq. 3 and 4): forwards, backwards, step.
//
// Panels as of dense.cpp. Sums over the features of a row have sixteen chains, one a lane, summed in a fixed order.
#include "adam.h"
#include "norm.h"

namespace sacpipe {

// h = relu(z w + b) with z = (x - mean) / sqrt(variance + 1e-5) over the features of a row. `values` has x, and then z;
// `scales` gets 1 / sqrt(variance + 1e-5). A unit is eight rows of a member.
#define NORM(X)                                                                                   \
  X(float*, values, out) X(float*, output, out) X(float*, scales, out) X(const float*, weights, all) \
  X(const float*, bias, all) X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, features, number)
KERNEL(Norm, "norm", rows, NORM)

long Norm::units() const { return members * blocks(rows); }

void Norm::run(long lo, long hi, Worker&) const {
  const Features all(features);
  const long height = padded(rows);
  each_member(lo, hi, blocks(rows), [&](long c, long first, long last) {
    const float *w = weights + c * all.panels * PANEL, *b = bias + c * all.panels * PANEL;
    for (long m = first * BLOCK; m < last * BLOCK; m++) {
      const long start = (c * all.panels * height + m) * PANEL;
      scales[c * height + m] = normalise(all, height, values + start, output + start, w, b);
    }
  });
}

// Gradient with respect to x from that with respect to z w + b. `normal` and `scales` are what `norm` left, with panels
// of `held` rows. With lists, row r of `delta` and `output` belongs to row lists[member][r] of both. A unit is eight
// rows of a member.
#define NORM_BACK(X)                                                                              \
  X(const float*, delta, own) X(const float*, normal, all) X(const float*, scales, all)           \
  X(const float*, weights, all) X(float*, output, out) X(const int32_t*, lists, all)              \
  X(const int32_t*, counts, all) X(int64_t, members, number) X(int64_t, rows, number)             \
  X(int64_t, features, number) X(int64_t, held, number)
KERNEL(NormBack, "norm_back", rows, NORM_BACK)

long NormBack::units() const { return Listed{counts, members, rows}.units(); }

void NormBack::run(long lo, long hi, Worker&) const {
  const Features all(features);
  const long height = padded(rows);
  const float number = (float)features;
  Listed{counts, members, rows}.each(lo, hi, [&](long c, long first, long last) {
    const float* w = weights + c * all.panels * PANEL;
    for (long r = first; r < last; r++) {
      const long m = lists ? lists[c * height + r] : r, start = (c * all.panels * height + r) * PANEL;
      const float *d = delta + start, *z = normal + (c * all.panels * held + m) * PANEL;
      float* to = output + start;
      V sums = zero(), products = zero();
      for (long n = 0; n < all.panels; n++)
        for (long j = 0; j < PANEL; j += LANES) {
          const V g = load(d + n * height * PANEL + j) * load(w + n * PANEL + j);
          sums = sums + g;
          products = fma(g, load(z + n * held * PANEL + j), products);
        }
      const V mean = spread(sum(sums) / number), along = spread(sum(products) / number);
      const V scale = spread(scales[c * held + m]);
      all.each(height, [&](long at, long feature, V inside) {
        const V g = load(d + at) * load(w + feature), here = load(z + at / (height * PANEL) * held * PANEL + at % PANEL);
        store(to + at, scale * (g - mean - here * along) * inside);
      });
    }
  });
}

// Step of w and b, whose gradients are the sums of delta x z and of delta. A unit is a panel of features of a member.
#define NORM_STEP(X)                                                                                        \
  X(const float*, normal, all) X(const float*, delta, all) X(float*, weights, out) X(float*, bias, out)     \
  X(float*, weight_means, out) X(float*, weight_squares, out) X(float*, bias_means, out)                    \
  X(float*, bias_squares, out) X(float*, slow_weights, out) X(float*, slow_bias, out)                       \
  X(float*, squares, out) X(Scalar, step, all) X(int64_t, members, number) X(int64_t, rows, number)         \
  X(int64_t, features, number) X(int64_t, held, number)
KERNEL(NormStep, "norm_step", panels, NORM_STEP)

long NormStep::units() const { return members * ((features + PANEL - 1) / PANEL); }

void NormStep::run(long lo, long hi, Worker&) const {
  const long height = padded(rows);
  for (long unit = lo; unit < hi; unit++) {
    V squared = zero();
    for (long j = 0; j < PANEL; j += LANES) {
      const float *d = delta + unit * height * PANEL + j, *z = normal + unit * held * PANEL + j;
      V w = zero(), b = zero();
      for (long m = 0; m < rows; m++) {
        const V g = load(d + m * PANEL);
        w = fma(g, load(z + m * PANEL), w), b = b + g;
      }
      const long at = unit * PANEL + j;
      squared = fma(w, w, squared), squared = fma(b, b, squared);
      adam(weights, at, {weight_means, weight_squares, slow_weights}, w, step);
      adam(bias, at, {bias_means, bias_squares, slow_bias}, b, step);
    }
    store(squares + unit * LANES, squared);
  }
}

}  // namespace sacpipe
