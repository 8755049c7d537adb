// Kernels of critics that learn the distribution of the return (Kuznetsov et al. 2020, arXiv:2005.04269; Dabney et al.
// 2018, arXiv:1710.10044). Quantiles are panels [members][panels][padded rows][width], as a layer gives them: columns
// beyond the last quantile are zero.
#include "rows.h"

namespace sacpipe {

INLINE long parts_of(long count, long width) { return (count + width - 1) / width; }

// Values of critics: means of their quantiles, in sixteen chains. A unit is eight rows of a member.
#define QUANTILE_MEAN(X)                                                                        \
  X(const float*, quantiles, own) X(float*, values, out) X(int64_t, members, number)            \
  X(int64_t, rows, number) X(int64_t, count, number) X(int64_t, width, number)
KERNEL(QuantileMean, "quantile_mean", rows, QUANTILE_MEAN)

long QuantileMean::units() const { return members * blocks(rows); }

void QuantileMean::run(long lo, long hi, Worker&) const {
  const long height = padded(rows), parts = parts_of(count, width);
  each_member(lo, hi, blocks(rows), [&](long c, long first, long last) {
    for (long m = first * BLOCK; m < last * BLOCK; m++) {
      V total = zero();
      for (long n = 0; n < parts; n++)
        for (long j = 0; j < width; j += LANES)
          total = total + load(quantiles + ((c * parts + n) * height + m) * width + j);
      values[c * height + m] = sum(total) / (float)count;
    }
  });
}

// Sorts vectors so that every lane ascends: Batcher's merge exchange (Knuth, The Art of Computer Programming, volume 3,
// 5.2.2, algorithm M). What is compared does not depend on the numbers. A comparison exchanges its numbers or leaves
// them, also where they are equal or one is not a number, so none is lost.
INLINE void sort_lanes(float* x, long count) {
  long top = 1;
  while (2 * top < count) top *= 2;
  for (long p = top; p; p /= 2)
    for (long q = top, r = 0, d = p;; d = q - p, q /= 2, r = p) {
      for (long from = r; from < count - d; from += 2 * p)
        for (long i = from; i < from + p && i < count - d; i++) {
          const V a = load(x + i * LANES), b = load(x + (i + d) * LANES);
          store(x + i * LANES, min(a, b)), store(x + (i + d) * LANES, max(b, a));
        }
      if (q == p) break;
    }
}

// Targets y = r + discount (z - temperature log pi') for the `kept` lowest quantiles z of all members, ascending, and
// their mean. The mean of a row with a quantile that is not a number is none either. A unit is eight rows.
#define TRUNCATED_TARGET(X)                                                                        \
  X(const float*, quantiles, all) X(const float*, log_probs, own) X(const Rows*, rewards, all)     \
  X(const Rows*, discounts, all) X(float*, atoms, out) X(float*, targets, out) X(Scalar, numbers, all) \
  X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, count, number)                   \
  X(int64_t, width, number) X(int64_t, kept, number)
KERNEL(TruncatedTarget, "truncated_target", rows, TRUNCATED_TARGET)

long TruncatedTarget::units() const { return blocks(rows); }

void TruncatedTarget::run(long lo, long hi, Worker& worker) const {
  const long height = padded(rows), size = parts_of(count, width) * height * width;
  float* pool = worker.scratch;  // [all quantiles][lanes]: a lane is a row
  for (long start = lo * BLOCK; start < hi * BLOCK; start += LANES) {
    const long end = hi * BLOCK < rows ? hi * BLOCK : rows, n = end - start < LANES ? end - start : LANES;
    float entropy[LANES] = {}, discount[LANES] = {}, reward[LANES] = {}, not_numbers[LANES] = {}, means[LANES];
    for (long k = 0; k < members * count; k++) {
      float* to = pool + k * LANES;
      const float* from = quantiles + k / count * size;
      store(to, zero());
      for (long r = 0; r < n; r++) {
        const float z = to[r] = element(from, height, width, start + r, k % count);
        if (z != z) not_numbers[r] = z;
      }
    }
    sort_lanes(pool, members * count);
    for (long r = 0; r < n; r++) {
      entropy[r] = numbers[0] * log_probs[start + r];
      discount[r] = *row(discounts, start + r), reward[r] = *row(rewards, start + r);
    }
    V total = zero();
    for (long k = 0; k < kept; k++) {
      const V y = (load(pool + k * LANES) - load(entropy)) * load(discount) + load(reward);
      total = total + y;
      store(pool + k * LANES, y);
    }
    store(means, total / spread((float)kept) + load(not_numbers));
    for (long r = 0; r < n; r++) {
      for (long k = 0; k < kept; k++) atoms[(start + r) * kept + k] = pool[k * LANES + r];
      targets[start + r] = means[r];
    }
  }
}

// Gradient of the quantile regression loss with Huber's threshold 1, and the loss of every row: the mean over quantiles
// z_m and atoms y_i of |tau_m - [y_i < z_m]| H(z_m - y_i). `fractions` has 1 - tau, then tau, in the width of the panels
// with zeros beyond the last. Each number is a chain over the ascending atoms: of its errors above zero, at most 1, and of
// those below. The gradient is of the mean over rows, each times its weight, if there are weights. Refuses values whose
// distance from the mean target is not finite. A unit is eight rows of a member.
#define QUANTILE_HUBER(X)                                                                          \
  X(const float*, quantiles, own) X(const float*, values, own) X(const float*, atoms, all)         \
  X(const float*, targets, all) X(const Rows*, weights, all) X(const float*, fractions, all)       \
  X(float*, gradients, out) X(float*, losses, out) X(int64_t, members, number)                     \
  X(int64_t, rows, number) X(int64_t, count, number) X(int64_t, width, number) X(int64_t, kept, number)
KERNEL(QuantileHuber, "quantile_huber", rows, QUANTILE_HUBER)

long QuantileHuber::units() const { return members * blocks(rows); }

void QuantileHuber::run(long lo, long hi, Worker& worker) const {
  const long height = padded(rows), parts = parts_of(count, width);
  const float share = 1.f / ((float)count * (float)kept);
  const V one = spread(1.f), half = spread(-0.5f);
  each_member(lo, hi, blocks(rows), [&](long c, long first, long last) {
    const long end = last * BLOCK < rows ? last * BLOCK : rows;
    for (long m = first * BLOCK; m < end; m++) {
      if (!is_fine(values[c * height + m] - targets[m])) refuse(worker);
      const float weight = weights ? share * *row(weights, m) : share;
      const V scale = spread(weight / (float)rows);
      V loss = zero();
      for (long j = 0; j < count; j += LANES) {
        const long at = place_of(height, width, m, j) + c * parts * height * width;
        const V z = load(quantiles + at), above = load(fractions + j), below = load(fractions + parts * width + j);
        V over = zero(), under = zero(), loss_over = zero(), loss_under = zero();
        for (const float *y = atoms + m * kept, *stop = y + kept; y < stop; y++) {
          const V u = z - spread(*y);
          const V a = max(zero(), min(one, u)), b = min(zero(), max(zero() - one, u));
          over = over + a, under = under + b;
          loss_over = fma(a, fma(half, a, u), loss_over), loss_under = fma(b, fma(half, b, u), loss_under);
        }
        store(gradients + at, fma(above, over, below * under) * scale);
        loss = fma(above, loss_over, fma(below, loss_under, loss));
      }
      losses[c * height + m] = sum(loss) * weight;
    }
  });
}

}  // namespace sacpipe
