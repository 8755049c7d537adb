// What kernels over the rows of a batch share: places of numbers in panels, and the refusal of values.
#pragma once
#include "kernel.h"

namespace sacpipe {

// A width is 16 or 32, so that shifts do for divisions, which would take half of the time of the kernels here.
INLINE long place_of(long height, long width, long m, long j) {
  return ((j >> (width == PANEL ? 5 : 4)) * height + m) * width + (j & (width - 1));
}
INLINE float& element(float* panels, long height, long width, long m, long j) {
  return panels[place_of(height, width, m, j)];
}
INLINE float element(const float* panels, long height, long width, long m, long j) {
  return panels[place_of(height, width, m, j)];
}

INLINE void refuse(Worker& worker) {
  int none = 0;
  worker.refused->compare_exchange_strong(none, worker.index, std::memory_order_relaxed);
}
// Finite, and at most 1e19 so that its square is finite too.
INLINE bool is_fine(float x) { return x * x <= 3.4028234e38f; }

}  // namespace sacpipe
