// Kernels over the rows of a batch: operands, samples of the policy, targets, and the way back through the squash.
#include <cmath>
#include <cstring>

#include "elementary.h"
#include "rows.h"

namespace sacpipe {

// So many numbers, filled up to whole vectors.
INLINE long whole_vectors(long count) { return (count + LANES - 1) / LANES * LANES; }

// Rows of up to two sources beside each other, as panels of 32 features; the first source is normalised, if there is
// a mean: ((x - mean) * scale) between -limit and limit where `chosen` is 1. A panel of `output` has `held` rows. A unit
// is eight rows of a part.
#define PACK(X)                                                                                      \
  X(const Rows*, first, all) X(const Rows*, second, all) X(float*, output, out)                      \
  X(const float*, mean, all) X(const float*, scale, all) X(const float*, chosen, all)                \
  X(int64_t, parts, number) X(int64_t, rows, number) X(int64_t, first_columns, number)               \
  X(int64_t, second_columns, number) X(int64_t, held, number) X(int64_t, output_step, number)        \
  X(int64_t, limit, number)
KERNEL(Pack, "pack", rows, PACK)

long Pack::units() const { return parts * blocks(rows); }

void Pack::run(long lo, long hi, Worker&) const {
  const float bound = (float)limit;
  each_member(lo, hi, blocks(rows), [&](long part, long from, long to) {
    const long last = to * BLOCK < rows ? to * BLOCK : rows;
    float* panels = output + part * output_step;
    for (long m = from * BLOCK; m < last; m++) {
      const float* x = row(first + part, m);
      for (long j = 0; j < first_columns; j += PANEL) {
        float* at = panels + (j / PANEL * held + m) * PANEL;
        const long n = first_columns - j < PANEL ? first_columns - j : PANEL;
        if (!mean) {
          memcpy(at, x + j, n * sizeof(float));
          continue;
        }
        for (long i = 0; i < n; i++) {
          float y = (x[j + i] - mean[j + i]) * scale[j + i];
          y = y > bound ? bound : y < -bound ? -bound : y;
          at[i] = chosen[j + i] != 0.f ? y : x[j + i];
        }
      }
      if (!second_columns) continue;
      const float* a = row(second + part, m);
      for (long j = 0; j < second_columns; j++) element(panels, held, PANEL, m, first_columns + j) = a[j];
    }
  });
}

// Writes rows of `columns` numbers into panels, from a column on. A unit is eight rows of a part.
#define PLACE(X)                                                                                   \
  X(const float*, values, own) X(float*, output, out) X(int64_t, parts, number)                    \
  X(int64_t, rows, number) X(int64_t, columns, number) X(int64_t, features, number) X(int64_t, at, number)
KERNEL(Place, "place", rows, PLACE)

long Place::units() const { return parts * blocks(rows); }

void Place::run(long lo, long hi, Worker&) const {
  const long height = padded(rows), size = (features + PANEL - 1) / PANEL * height * PANEL;
  each_member(lo, hi, blocks(rows), [&](long part, long first, long last) {
    const float* from = values + part * height * columns;
    for (long m = first * BLOCK; m < last * BLOCK; m++)
      for (long j = 0; j < columns; j++)
        element(output + part * size, height, PANEL, m, at + j) = from[m * columns + j];
  });
}

// Standard normal numbers: Philox 4x32-10 (Salmon et al. 2011) under a key of 64 bits, whose counter is the place of
// the numbers, then Box & Muller 1958. A unit is eight rows.
#define NOISE(X) \
  X(const uint32_t*, key, all) X(float*, output, out) X(int64_t, rows, number) X(int64_t, columns, number)
KERNEL(Noise, "noise", rows, NOISE)

long Noise::units() const { return blocks(rows); }

INLINE void philox(uint32_t k0, uint32_t k1, uint64_t first, uint32_t (&x)[4][LANES]) {
  for (int i = 0; i < LANES; i++) {
    x[0][i] = (uint32_t)(first + i), x[1][i] = (uint32_t)((first + i) >> 32);
    x[2][i] = x[3][i] = 0;
  }
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
    for (int i = 0; i < LANES; i++) {
      const uint64_t a = (uint64_t)x[0][i] * 0xD2511F53u, b = (uint64_t)x[2][i] * 0xCD9E8D57u;
      const uint32_t y1 = x[1][i], y3 = x[3][i];
      x[0][i] = (uint32_t)(b >> 32) ^ y1 ^ k0, x[1][i] = (uint32_t)b;
      x[2][i] = (uint32_t)(a >> 32) ^ y3 ^ k1, x[3][i] = (uint32_t)a;
    }
}

INLINE void normal_pair(const uint32_t* u, const uint32_t* w, float* out) {
  float a[LANES], b[LANES];
  for (int i = 0; i < LANES; i++) a[i] = (float)(int32_t)(u[i] >> 8), b[i] = (float)(int32_t)(w[i] >> 8);
  const V uniform = fma(load(a), spread(0x1p-24f), spread(0x1p-25f));  // in (0, 1]
  const V radius = square_root(spread(-2.f) * logarithm(uniform));
  const V turns = load(b) * spread(0x1p-22f), quarter = nearest(turns);  // in quarters of a turn
  const V x = (turns - quarter) * spread(1.57079632679489662f), z = x * x;
  V s = polynomial(z, {-1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f});
  s = fma(s * z, x, x);
  V c = polynomial(z, {2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f});
  c = fma(c * z, z, fma(spread(-0.5f), z, spread(1.f)));
  float sine[LANES], cosine[LANES], q[LANES];
  store(sine, s), store(cosine, c), store(q, quarter);
  for (int i = 0; i < LANES; i++) {
    const int k = (int)q[i] & 3;
    const float y = k & 1 ? cosine[i] : sine[i], x0 = k & 1 ? sine[i] : cosine[i];
    a[i] = k == 1 || k == 2 ? -x0 : x0;
    b[i] = k & 2 ? -y : y;
  }
  store(out, radius * load(a)), store(out + LANES, radius * load(b));
}

void Noise::run(long lo, long hi, Worker&) const {
  const long count = BLOCK * columns, calls = (count + 4 * LANES - 1) / (4 * LANES);
  for (long unit = lo; unit < hi; unit++)
    for (long call = 0; call < calls; call++) {
      uint32_t words[4][LANES];
      float numbers[4 * LANES];
      philox(key[0], key[1], (uint64_t)(unit * calls + call) * LANES, words);
      normal_pair(words[0], words[1], numbers), normal_pair(words[2], words[3], numbers + 2 * LANES);
      const long left = count - call * 4 * LANES, n = left < 4 * LANES ? left : 4 * LANES;
      memcpy(output + unit * count + call * 4 * LANES, numbers, n * sizeof(float));
    }
}

// Draws of the squashed Gaussian, a = tanh(mean + std * noise), and their log-densities in nats (Haarnoja et al. 2018,
// arXiv:1812.05905, appendix C, eq. 26). `output` holds means, then log standard deviations. `inside` is 1 where the
// log standard deviation is within its bounds. A unit is eight rows.
#define SQUASHED_SAMPLE(X)                                                                           \
  X(const float*, output, own) X(const float*, noise, own) X(float*, actions, out)                   \
  X(float*, log_probs, out) X(float*, log_stds, out) X(float*, stds, out) X(float*, inside, out)     \
  X(Scalar, bounds, all) X(int64_t, rows, number) X(int64_t, columns, number) X(int64_t, width, number)
KERNEL(SquashedSample, "squashed_sample", rows, SQUASHED_SAMPLE)

long SquashedSample::units() const { return blocks(rows); }

void SquashedSample::run(long lo, long hi, Worker& worker) const {
  const long height = padded(rows), count = BLOCK * columns, filled = whole_vectors(count);
  float *means = worker.scratch, *raw = means + filled, *density = raw + filled;
  for (long i = count; i < filled; i++) means[i] = raw[i] = 0.f;
  const V low = spread(bounds[0]), high = spread(bounds[1]), two = spread(2.f);
  // log sqrt(2 pi) of the Gaussian and 2 log 2 of the squash, for each action
  const float constant = (float)columns * (0.918938533204672742f + 1.38629436111989062f);
  for (long unit = lo; unit < hi; unit++) {
    for (int r = 0; r < BLOCK; r++)
      for (long j = 0; j < columns; j++) {
        means[r * columns + j] = element(output, height, width, unit * BLOCK + r, j);
        raw[r * columns + j] = element(output, height, width, unit * BLOCK + r, columns + j);
      }
    const long start = unit * count;
    for (long i = 0; i < count; i += LANES) {
      const long n = count - i < LANES ? count - i : LANES;
      float z_[LANES] = {}, a_[LANES], l_[LANES], s_[LANES];
      memcpy(z_, noise + start + i, n * sizeof(float));
      const V z = load(z_), l = max(low, min(high, load(raw + i))), s = exponential(l);
      const V u = fma(s, z, load(means + i)), size = absolute(u);
      V d = fma(spread(-0.5f) * z, z, fma(two, size, zero() - l));
      d = fma(two, log_one_plus(exponential(spread(-2.f) * size)), d);
      store(a_, hyperbolic_tangent(u)), store(l_, l), store(s_, s), store(density + i, d);
      memcpy(actions + start + i, a_, n * sizeof(float));
      memcpy(log_stds + start + i, l_, n * sizeof(float)), memcpy(stds + start + i, s_, n * sizeof(float));
      for (long k = 0; k < n; k++) inside[start + i + k] = l_[k] == raw[i + k] ? 1.f : 0.f;
    }
    for (int r = 0; r < BLOCK; r++) {
      float total = 0.f;
      for (long j = 0; j < columns; j++) total = total + density[r * columns + j];
      log_probs[unit * BLOCK + r] = total - constant;
    }
  }
}

// Actions of a bounded policy, a = tanh(output), with noise that is scaled and clipped if there is some
// (Fujimoto et al. 2018, arXiv:1802.09477, eq. 14). `smoothing` is scale and limit. A unit is eight rows.
#define BOUNDED_ACTION(X)                                                                       \
  X(const float*, output, own) X(const float*, noise, own) X(float*, actions, out)              \
  X(Scalar, smoothing, all) X(int64_t, rows, number) X(int64_t, columns, number) X(int64_t, width, number)
KERNEL(BoundedAction, "bounded_action", rows, BOUNDED_ACTION)

long BoundedAction::units() const { return blocks(rows); }

void BoundedAction::run(long lo, long hi, Worker& worker) const {
  const long height = padded(rows), count = BLOCK * columns, filled = whole_vectors(count);
  float* means = worker.scratch;
  for (long i = count; i < filled; i++) means[i] = 0.f;
  for (long unit = lo; unit < hi; unit++) {
    for (int r = 0; r < BLOCK; r++)
      for (long j = 0; j < columns; j++) means[r * columns + j] = element(output, height, width, unit * BLOCK + r, j);
    for (long i = 0; i < count; i += LANES) {
      const long n = count - i < LANES ? count - i : LANES, start = unit * count + i;
      float z_[LANES] = {}, a_[LANES];
      V a = hyperbolic_tangent(load(means + i));
      if (noise) {
        memcpy(z_, noise + start, n * sizeof(float));
        const V limit = spread(smoothing[1]), e = spread(smoothing[0]) * load(z_);
        a = a + max(zero() - limit, min(limit, e));
        a = max(spread(-1.f), min(spread(1.f), a));
      }
      store(a_, a);
      memcpy(actions + start, a_, n * sizeof(float));
    }
  }
}

// Regression targets y = r + discount (min Q' - temperature log pi'), errors Q - y times a factor, and the refusal of
// errors that are not finite. Without log-densities the entropy is left out. The targets are written once for every
// critic, so that no two units write the same place. A unit is eight rows of a critic.
#define TD_ERROR(X)                                                                                   \
  X(const float*, values, own) X(const float*, next_values, all) X(const float*, next_log_probs, all) \
  X(const Rows*, rewards, all) X(const Rows*, discounts, all) X(float*, errors, out)                  \
  X(float*, targets, out) X(Scalar, numbers, all) X(int64_t, members, number) X(int64_t, rows, number) \
  X(int64_t, next_members, number)
KERNEL(TdError, "td_error", rows, TD_ERROR)

long TdError::units() const { return members * blocks(rows); }

void TdError::run(long lo, long hi, Worker& worker) const {
  const long height = padded(rows);
  const float temperature = numbers[0], factor = numbers[1];
  each_member(lo, hi, blocks(rows), [&](long c, long first, long last) {
    const long end = last * BLOCK < rows ? last * BLOCK : rows;
    for (long m = first * BLOCK; m < end; m++) {
      float y = next_values[m];
      for (long k = 1; k < next_members; k++) {
        const float q = next_values[k * height + m];
        y = q < y || q != q ? q : y;
      }
      if (next_log_probs) y = y - temperature * next_log_probs[m];
      y = y * *row(discounts, m) + *row(rewards, m);
      const float error = values[c * height + m] - y;
      if (!is_fine(error)) refuse(worker);
      errors[c * height + m] = error * factor;
      targets[c * height + m] = y;
    }
  });
}

// Multiplies the errors of every critic by the weights of the rows. A unit is eight rows of a critic.
#define WEIGH(X) \
  X(const Rows*, weights, all) X(float*, errors, out) X(int64_t, members, number) X(int64_t, rows, number)
KERNEL(Weigh, "weigh", rows, WEIGH)

long Weigh::units() const { return members * blocks(rows); }

void Weigh::run(long lo, long hi, Worker&) const {
  const long height = padded(rows);
  each_member(lo, hi, blocks(rows), [&](long c, long first, long last) {
    const long end = last * BLOCK < rows ? last * BLOCK : rows;
    for (long m = first * BLOCK; m < end; m++) errors[c * height + m] *= *row(weights, m);
  });
}

// Refuses numbers that are not finite. One unit.
#define CHECK(X) X(const float*, values, all) X(int64_t, members, number) X(int64_t, rows, number)
KERNEL(Check, "check", once, CHECK)

long Check::units() const { return 1; }

void Check::run(long, long, Worker& worker) const {
  for (long c = 0; c < members; c++)
    for (long m = 0; m < rows; m++)
      if (!is_fine(values[c * padded(rows) + m])) refuse(worker);
}

// For every row the critic with the lowest value: the rows of each critic, their number, and where a row is. The lists
// are filled to blocks of eight with row 0. One unit.
#define LOWEST(X)                                                                                     \
  X(const float*, values, all) X(int32_t*, lists, out) X(int32_t*, counts, out) X(int32_t*, owners, out) \
  X(int32_t*, places, out) X(int64_t, members, number) X(int64_t, rows, number)
KERNEL(Lowest, "lowest", once, LOWEST)

long Lowest::units() const { return 1; }

void Lowest::run(long, long, Worker&) const {
  const long height = padded(rows);
  for (long c = 0; c < members; c++) counts[c] = 0;
  for (long m = 0; m < rows; m++) {
    long lowest = 0;
    for (long c = 1; c < members; c++)
      if (values[c * height + m] < values[lowest * height + m]) lowest = c;
    owners[m] = (int32_t)lowest, places[m] = counts[lowest]++;
    lists[lowest * height + places[m]] = (int32_t)m;
  }
  for (long c = 0; c < members; c++)
    for (long i = counts[c]; i < padded(counts[c]); i++) lists[c * height + i] = 0;
}

// Gradient of the actor's loss with respect to the policy's output, from that with respect to the action: through
// tanh, and with `noise` through the Gaussian's mean and standard deviation and the entropy term. `weight` is
// temperature / batch size. With owners, a row's gradient is at its place in its critic's list, else the sum over
// critics. A unit is eight rows.
#define SQUASH_BACK(X)                                                                              \
  X(const float*, gradients, all) X(const int32_t*, owners, all) X(const int32_t*, places, all)     \
  X(const float*, actions, own) X(const float*, stds, own) X(const float*, noise, own)              \
  X(const float*, inside, own) X(float*, output, out) X(Scalar, weight, all)                        \
  X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, columns, number)                  \
  X(int64_t, gradient_width, number) X(int64_t, width, number)
KERNEL(SquashBack, "squash_back", rows, SQUASH_BACK)

long SquashBack::units() const { return blocks(rows); }

void SquashBack::run(long lo, long hi, Worker&) const {
  const long height = padded(rows);
  const long size = (columns + gradient_width - 1) / gradient_width * height * gradient_width;
  const float w = weight[0];
  const long last = hi * BLOCK < rows ? hi * BLOCK : rows;
  for (long m = lo * BLOCK; m < last; m++)
    for (long j = 0; j < columns; j++) {
      float d = 0.f;
      if (owners)
        d = element(gradients + owners[m] * size, height, gradient_width, places[m], j);
      else
        for (long c = 0; c < members; c++) d = d + element(gradients + c * size, height, gradient_width, m, j);
      const long i = m * columns + j;
      const float a = actions[i];
      d = d * (1.f - a * a);
      if (noise) {
        d = d + 2.f * w * a;
        element(output, height, width, m, columns + j) = (d * stds[i] * noise[i] - w) * inside[i];
      }
      element(output, height, width, m, j) = d;
    }
}

// Mean of numbers, summed in their order in float64. One unit.
#define MEAN(X) X(const float*, values, all) X(float*, output, out) X(int64_t, count, number)
KERNEL(Mean, "mean", once, MEAN)

long Mean::units() const { return 1; }

void Mean::run(long, long, Worker&) const {
  double total = 0.0;
  for (long i = 0; i < count; i++) total = total + (double)values[i];
  *output = (float)(total / (double)count);
}

}  // namespace sacpipe
