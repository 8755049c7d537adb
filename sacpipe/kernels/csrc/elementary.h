// exp, log, log1p and tanh of sixteen lanes, with one result on every processor.
//
// Polynomials of Cephes' single-precision functions (Moshier, netlib.org/cephes), by fused multiply-adds.
#pragma once
#include <cstdint>
#include <cstring>

#include "vector.h"

namespace sacpipe {

template <int N>
INLINE V polynomial(V x, const float (&c)[N]) {
  V y = spread(c[0]);
  for (int i = 1; i < N; i++) y = fma(y, x, spread(c[i]));
  return y;
}

// x * 2^n for whole n, where the result is a normal number.
INLINE V scaled(V x, V n) {
  float value[LANES], power[LANES];
  store(value, x), store(power, n);
  uint32_t bits[LANES];
  memcpy(bits, value, sizeof bits);
  for (int i = 0; i < LANES; i++) {
    const float whole = power[i] == power[i] ? power[i] : 0.f;  // a NaN has no whole number; x is one then
    bits[i] += (uint32_t)(int32_t)whole << 23;
  }
  memcpy(value, bits, sizeof bits);
  return load(value);
}

// e^x for x in [-86, 88]; the nearer bound's value outside.
INLINE V exponential(V x) {
  x = max(spread(-86.f), min(spread(88.f), x));  // in this order, a NaN stays one
  V n = nearest(x * spread(1.44269504088896341f));
  V r = fma(n, spread(-0.693359375f), x);
  r = fma(n, spread(2.12194440e-4f), r);
  V p = polynomial(r, {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                       5.0000001201e-1f});
  return scaled(fma(r * r, p, r + spread(1.f)), n);
}

// Logarithm of a normal positive number.
INLINE V logarithm(V x) {
  float value[LANES], exponent[LANES];
  store(value, x);
  uint32_t bits[LANES];
  memcpy(bits, value, sizeof bits);
  for (int i = 0; i < LANES; i++) {
    // The mantissa in [sqrt(1/2), sqrt(2)): 0x3f3504f3 is sqrt(1/2).
    uint32_t moved = bits[i] - 0x3f3504f3u;
    int32_t e = (int32_t)moved >> 23;
    bits[i] -= (uint32_t)e << 23;
    exponent[i] = (float)e;
  }
  memcpy(value, bits, sizeof bits);
  V m = load(value) - spread(1.f), e = load(exponent), z = m * m;
  V y = polynomial(m, {7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                       -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f});
  y = y * m * z;
  y = fma(e, spread(-2.12194440e-4f), y);
  y = fma(spread(-0.5f), z, y);
  y = m + y;
  return fma(e, spread(0.693359375f), y);
}

// log(1 + x) for x in [0, 1].
INLINE V log_one_plus(V x) {
  V u = spread(1.f) + x;
  return logarithm(u) + (x - (u - spread(1.f))) / u;
}

INLINE V absolute(V x) { return max(x, zero() - x); }

INLINE V hyperbolic_tangent(V x) {
  V a = absolute(x), z = x * x;
  V near = polynomial(z, {-5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f,
                          -3.33332819422e-1f});
  near = fma(near * z, x, x);
  V e = exponential(spread(-2.f) * a);
  V far = (spread(1.f) - e) / (spread(1.f) + e);
  // far where |x| > 0.625, with the sign of x
  V is_far = a - spread(0.625f), is_near = spread(0.625f) - a;
  V below = where_positive(zero() - x, zero() - far), above = where_positive(x, far);
  V joined = where_positive(is_far, above + below);
  float n[LANES], f[LANES], d[LANES];
  store(n, near), store(f, joined), store(d, is_near);
  for (int i = 0; i < LANES; i++) f[i] = d[i] < 0.f ? f[i] : n[i];  // a NaN stays one
  return load(f);
}

}  // namespace sacpipe
