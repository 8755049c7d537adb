// Layers of perceptrons: forwards, backwards through the ReLU, and the step of the weights.
//
// Activations and deltas are panels of 32 features: [members][panels][padded rows][width]; a layer with at most 16
// outputs has one panel of width 16. Weights [members][panels of outputs][padded inputs][width] are the right operand
// forwards; their turned copies [members][panels of inputs][outputs][32] are it backwards.
#include "adam.h"

namespace sacpipe {

// h = relu(x W + b), or without the ReLU. A unit is eight rows of a member.
#define DENSE(X)                                                                              \
  X(const float*, input, own) X(const float*, weights, all) X(const float*, bias, all)        \
  X(float*, output, out) X(int64_t, members, number) X(int64_t, rows, number)                 \
  X(int64_t, inputs, number) X(int64_t, outputs, number) X(int64_t, width, number)            \
  X(int64_t, input_stride, number) X(int64_t, relu, number)
KERNEL(Dense, "dense", rows, DENSE)

long Dense::units() const { return members * blocks(rows); }

void Dense::run(long lo, long hi, Worker&) const {
  const long count = (outputs + width - 1) / width, height = padded(rows), depth = padded(inputs);
  each_member(lo, hi, blocks(rows), [&](long c, long first, long last) {
    const Left<Float32> left = {input + c * input_stride, PANEL, 1, height * PANEL};
    for (long n = 0; n < count; n++) {
      const float* b = bias + (c * count + n) * width;
      float* to = output + (c * count + n) * height * width;
      const float* w = weights + (c * count + n) * depth * width;
      const Ahead ahead(n + 1 < count ? w + depth * width : nullptr, inputs * width, last - first);
      const auto all = [](long, const float**) {};
      if (relu)
        panel<POSITIVE>(left, first * BLOCK, last * BLOCK, inputs, w, width, b, to, ahead, all);
      else
        panel<ALL>(left, first * BLOCK, last * BLOCK, inputs, w, width, b, to, ahead, all);
    }
  });
}

// Gradient with respect to a layer's input: (d W^T) where h > 0, or without the mask. A unit is eight rows of a member.
// With lists, row r of `delta` and `output` belongs to row lists[member][r] of `mask`.
#define DENSE_BACK(X)                                                                          \
  X(const float*, delta, own) X(const float*, turned, all) X(const float*, mask, all)          \
  X(float*, output, out) X(const int32_t*, lists, all) X(const int32_t*, counts, all)          \
  X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, inputs, number)              \
  X(int64_t, outputs, number) X(int64_t, delta_width, number) X(int64_t, width, number)        \
  X(int64_t, delta_stride, number) X(int64_t, mask_stride, number) X(int64_t, delta_rows, number)
KERNEL(DenseBack, "dense_back", rows, DENSE_BACK)

long DenseBack::units() const { return Listed{counts, members, rows}.units(); }

void DenseBack::run(long lo, long hi, Worker&) const {
  const long count = (inputs + width - 1) / width, height = padded(rows), held = padded(delta_rows);
  const long mask_rows = mask_stride / (panels(inputs) * PANEL);
  Listed{counts, members, rows}.each(lo, hi, [&](long c, long first, long last) {
    const Left<Float32> left = {delta + c * delta_stride, delta_width, 1, held * delta_width};
    const int32_t* list = lists ? lists + c * height : nullptr;
    for (long n = 0; n < count; n++) {
      const float* h = mask ? mask + c * mask_stride + n * mask_rows * PANEL : nullptr;
      float* to = output + (c * count + n) * height * width;
      const float* w = turned + (c * count + n) * outputs * width;
      const Ahead ahead(n + 1 < count ? w + outputs * width : nullptr, outputs * width, (last - first) / BLOCK);
      const auto active = [&](long m, const float** rows) {
        for (int r = 0; r < BLOCK; r++) rows[r] = h + (list ? list[m + r] : m + r) * PANEL;
      };
      if (h)
        panel<ACTIVE>(left, first, last, outputs, w, width, nullptr, to, ahead, active);
      else
        panel<ALL>(left, first, last, outputs, w, width, nullptr, to, ahead, active);
    }
  });
}

// Turned copies of blocks of a panel of weights.
struct TurnedFloats {
  float* turned;  // of the panel's first output; null for none
  long outputs, width, filled;
  INLINE_MEMBER void pack(long, const float*, const float*) const {}
  INLINE_MEMBER void turn(long k, const float* parameters) const {
    if (!turned) return;
    float* to = turned + k / PANEL * outputs * PANEL + k % PANEL;
    long j = 0;
    for (; j + 8 <= filled; j += 8) transpose8(parameters + j, width, to + j * PANEL, PANEL);
    for (; j < filled; j++)
      for (int r = 0; r < BLOCK; r++) to[j * PANEL + r] = parameters[r * width + j];
  }
};

// Gradient of a layer's weights x^T d and biases (sums of d), Adam, slow copies, turned copy. A unit is a panel of
// outputs of a member. `squares` gets sixteen partial sums of the squared gradient for each panel.
#define DENSE_STEP(X)                                                                                     \
  X(const float*, input, all) X(const float*, delta, all) X(float*, weights, out) X(float*, bias, out)    \
  X(float*, weight_means, out) X(float*, weight_squares, out) X(float*, bias_means, out)                  \
  X(float*, bias_squares, out) X(float*, slow_weights, out) X(float*, slow_bias, out)                     \
  X(float*, turned, out) X(float*, squares, out) X(Scalar, step, all) X(int64_t, members, number)         \
  X(int64_t, rows, number) X(int64_t, inputs, number) X(int64_t, outputs, number)                         \
  X(int64_t, width, number) X(int64_t, input_stride, number) X(int64_t, input_rows, number)
KERNEL(DenseStep, "dense_step", panels, DENSE_STEP)

long DenseStep::units() const { return members * ((outputs + width - 1) / width); }

void DenseStep::run(long lo, long hi, Worker& worker) const {
  const long count = (outputs + width - 1) / width, height = padded(rows), depth = padded(inputs);
  const long held = padded(input_rows);
  for (long unit = lo; unit < hi; unit++) {
    const long c = unit / count, n = unit % count;
    const float* d = delta + unit * height * width;
    const long filled = outputs - n * width < width ? outputs - n * width : width;  // columns that are outputs
    V sum_of_squares = zero();
    // The biases' gradient first, and at the end the weights': both read the panel of deltas.
    V bias_sums[2] = {zero(), zero()};
    for (long m = 0; m < rows; m++)
      for (int j = 0; j < width / LANES; j++)
        bias_sums[j] = fma(spread(1.f), load(d + m * width + j * LANES), bias_sums[j]);
    for (int j = 0; j < width / LANES; j++) {
      sum_of_squares = fma(bias_sums[j], bias_sums[j], sum_of_squares);
      adam(bias, unit * width + j * LANES, {bias_means, bias_squares, slow_bias}, bias_sums[j], step);
    }
    const long start = unit * depth * width;
    const Moments moments = {weight_means + start, weight_squares + start, slow_weights ? slow_weights + start : nullptr};
    const TurnedFloats copies = {
        turned ? turned + (c * panels(inputs) * outputs + n * width) * PANEL : nullptr, outputs, width, filled};
    const auto left = [&](long k) {
      const float* rows = input + c * input_stride + k / PANEL * held * PANEL + k % PANEL;
      return Left<Float32>{rows, 1, PANEL, PANEL * PANEL};
    };
    if (width == PANEL)
      sum_of_squares = step_panel<Float32, 2>(
          BlockStep<2, TurnedFloats>{weights + start, moments, step, copies, worker.scratch, sum_of_squares, depth}, left,
          rows, d);
    else
      sum_of_squares = step_panel<Float32, 1>(
          BlockStep<1, TurnedFloats>{weights + start, moments, step, copies, worker.scratch, sum_of_squares, depth}, left,
          rows, d);
    store(squares + unit * LANES, sum_of_squares);
  }
}

// Values of a layer with one output: q = h w + b. A unit is eight rows of a member. The reduction has sixteen chains,
// one a lane, that are summed in a fixed order.
#define VALUE(X)                                                                                  \
  X(const float*, input, own) X(const float*, weights, all) X(const float*, bias, all)            \
  X(float*, values, out) X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, inputs, number)
KERNEL(Value, "value", rows, VALUE)

long Value::units() const { return members * blocks(rows); }

void Value::run(long lo, long hi, Worker&) const {
  const long count = panels(inputs), height = padded(rows);
  each_member(lo, hi, blocks(rows), [&](long c, long first, long last) {
    const float *h = input + c * count * height * PANEL, *w = weights + c * count * PANEL;
    for (long m = first * BLOCK; m < last * BLOCK; m++) {
      V sums = zero();
      for (long n = 0; n < count; n++) {
        const float* at = h + (n * height + m) * PANEL;
        sums = fma(load(at), load(w + n * PANEL), sums);
        sums = fma(load(at + LANES), load(w + n * PANEL + LANES), sums);
      }
      values[c * height + m] = sum(sums) + bias[c * LANES];
    }
  });
}

// Gradient with respect to the input of a layer with one output: (d w) where h > 0. A unit is eight rows of a member.
// With lists, row r of `output` belongs to row lists[member][r] of `delta` and `mask`.
#define VALUE_BACK(X)                                                                         \
  X(const float*, delta, all) X(const float*, weights, all) X(const float*, mask, all)        \
  X(float*, output, out) X(const int32_t*, lists, all) X(const int32_t*, counts, all)         \
  X(int64_t, members, number) X(int64_t, rows, number) X(int64_t, inputs, number)
KERNEL(ValueBack, "value_back", rows, VALUE_BACK)

long ValueBack::units() const { return Listed{counts, members, rows}.units(); }

void ValueBack::run(long lo, long hi, Worker&) const {
  const long count = panels(inputs), height = padded(rows);
  Listed{counts, members, rows}.each(lo, hi, [&](long c, long first, long last) {
    const int32_t* list = lists ? lists + c * height : nullptr;
    for (long n = 0; n < count; n++) {
      const long place = (c * count + n) * height;
      const V left = load(weights + (c * count + n) * PANEL), right = load(weights + (c * count + n) * PANEL + LANES);
      for (long r = first; r < last; r++) {
        const long m = list ? list[r] : r;
        const float* active = mask + (place + m) * PANEL;
        const V d = spread(delta[c * height + m]);
        float* to = output + (place + r) * PANEL;
        store(to, where_positive(load(active), d * left));
        store(to + LANES, where_positive(load(active + LANES), d * right));
      }
    }
  });
}

// Step of a layer with one output; as dense_step. A unit is a panel of inputs of a member; the first has the bias too.
#define VALUE_STEP(X)                                                                                      \
  X(const float*, input, all) X(const float*, delta, all) X(float*, weights, out) X(float*, bias, out)     \
  X(float*, weight_means, out) X(float*, weight_squares, out) X(float*, bias_means, out)                   \
  X(float*, bias_squares, out) X(float*, slow_weights, out) X(float*, slow_bias, out)                      \
  X(float*, squares, out) X(Scalar, step, all) X(int64_t, members, number) X(int64_t, rows, number)        \
  X(int64_t, inputs, number)
KERNEL(ValueStep, "value_step", panels, VALUE_STEP)

long ValueStep::units() const { return members * panels(inputs); }

void ValueStep::run(long lo, long hi, Worker&) const {
  const long count = panels(inputs), height = padded(rows);
  for (long unit = lo; unit < hi; unit++) {
    const long c = unit / count;
    const float *h = input + unit * height * PANEL, *d = delta + c * height;
    V sums[2] = {zero(), zero()}, squared = zero();
    for (long m = 0; m < rows; m++)
      for (int j = 0; j < 2; j++) sums[j] = fma(spread(d[m]), load(h + m * PANEL + j * LANES), sums[j]);
    for (int j = 0; j < 2; j++) {
      squared = fma(sums[j], sums[j], squared);
      adam(weights, unit * PANEL + j * LANES, {weight_means, weight_squares, slow_weights}, sums[j], step);
    }
    if (unit % count == 0) squared = step_value_bias(*this, d, c, squared);
    store(squares + unit * LANES, squared);
  }
}

// Turned copy of some columns of the first layer's weights, as right operand for the gradient of an action.
// A unit is a panel of outputs of a member.
#define TURN_INPUTS(X)                                                                              \
  X(const float*, weights, own) X(float*, turned, out) X(int64_t, members, number)                  \
  X(int64_t, inputs, number) X(int64_t, outputs, number) X(int64_t, width, number)                  \
  X(int64_t, first, number) X(int64_t, columns, number) X(int64_t, turned_width, number)
KERNEL(TurnInputs, "turn_inputs", panels, TURN_INPUTS)

long TurnInputs::units() const { return members * ((outputs + width - 1) / width); }

void TurnInputs::run(long lo, long hi, Worker&) const {
  const long count = (outputs + width - 1) / width, depth = padded(inputs);
  const long parts = (columns + turned_width - 1) / turned_width;
  for (long unit = lo; unit < hi; unit++) {
    const long c = unit / count, n = unit % count, filled = outputs - n * width < width ? outputs - n * width : width;
    for (long a = 0; a < columns; a++) {
      const float* from = weights + (unit * depth + first + a) * width;
      float* to = turned + ((c * parts + a / turned_width) * outputs + n * width) * turned_width + a % turned_width;
      for (long j = 0; j < filled; j++) to[j * turned_width] = from[j];
    }
  }
}

}  // namespace sacpipe
