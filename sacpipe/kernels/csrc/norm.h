// Layer normalisation of one row and its ReLU: of a batch (norm.cpp), and of a single observation (act.cpp).
#pragma once
#include <cmath>

#include "kernel.h"

namespace sacpipe {

constexpr float VARIANCE_EPSILON = 1e-5f;

// The features of one row, panel after panel; those of the padding are left out of sums, and zero in what is stored.
struct Features {
  long count, panels;
  float ones[PANEL];  // 1 where the last panel has a feature
  explicit Features(long features) : count(features), panels((features + PANEL - 1) / PANEL) {
    for (long i = 0; i < PANEL; i++) ones[i] = (panels - 1) * PANEL + i < features ? 1.f : 0.f;
  }
  // f(place in a row of panels of this height, place in a member's parameters, ones or zeros of the padding)
  template <class F>
  INLINE_MEMBER void each(long height, F f) const {
    for (long n = 0; n < panels; n++)
      for (long j = 0; j < PANEL; j += LANES)
        f(n * height * PANEL + j, n * PANEL + j, n + 1 < panels ? spread(1.f) : load(ones + j));
  }
};

// relu(z w + b) into `h`, z = (x - mean) / sqrt(variance + 1e-5) in place of x; returns 1 / sqrt(variance + 1e-5). Panels
// of `height` rows. `x` and `h` may be one array, which then has no z.
INLINE float normalise(const Features& all, long height, float* x, float* h, const float* w, const float* b) {
  const float number = (float)all.count;
  V sums = zero(), squares = zero();
  all.each(height, [&](long at, long, V) { sums = sums + load(x + at); });
  const V mean = spread(sum(sums) / number);
  all.each(height, [&](long at, long, V inside) {
    const V d = (load(x + at) - mean) * inside;
    squares = fma(d, d, squares);
    store(x + at, d);
  });
  const float scale = 1.f / std::sqrt(sum(squares) / number + VARIANCE_EPSILON);
  all.each(height, [&](long at, long feature, V) {
    const V z = load(x + at) * spread(scale);
    store(x + at, z);
    store(h + at, max(zero(), fma(z, load(w + feature), load(b + feature))));
  });
  return scale;
}

}  // namespace sacpipe
