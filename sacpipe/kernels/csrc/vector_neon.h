// Sixteen float32 lanes by NEON. The only file with intrinsics of this instruction set.
#pragma once
#include <arm_neon.h>

#include <cstdint>

namespace sacpipe {

constexpr int TILE_ROWS = 4;     // rows of the product's tile: 4 x 16 floats in sixteen of 32 registers
constexpr int TILE_VECTORS = 1;  // vectors of a row of the tile

struct V {
  float32x4_t x[4];
};

#define EACH_OF_FOUR(expression)           \
  V r;                                     \
  for (int i = 0; i < 4; i++) r.x[i] = expression; \
  return r;
INLINE V load(const float* p) { EACH_OF_FOUR(vld1q_f32(p + 4 * i)) }
INLINE void store(float* p, V a) {
  for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.x[i]);
}
INLINE V spread(float a) { EACH_OF_FOUR(vdupq_n_f32(a)) }
INLINE V fma(V a, V b, V c) { EACH_OF_FOUR(vfmaq_f32(c.x[i], a.x[i], b.x[i])) }
INLINE V operator+(V a, V b) { EACH_OF_FOUR(vaddq_f32(a.x[i], b.x[i])) }
INLINE V operator-(V a, V b) { EACH_OF_FOUR(vsubq_f32(a.x[i], b.x[i])) }
INLINE V operator*(V a, V b) { EACH_OF_FOUR(vmulq_f32(a.x[i], b.x[i])) }
INLINE V operator/(V a, V b) { EACH_OF_FOUR(vdivq_f32(a.x[i], b.x[i])) }
// As x86 has it: the second operand where the numbers are equal or one is not a number.
INLINE V max(V a, V b) { EACH_OF_FOUR(vbslq_f32(vcgtq_f32(a.x[i], b.x[i]), a.x[i], b.x[i])) }
INLINE V min(V a, V b) { EACH_OF_FOUR(vbslq_f32(vcltq_f32(a.x[i], b.x[i]), a.x[i], b.x[i])) }
INLINE V square_root(V a) { EACH_OF_FOUR(vsqrtq_f32(a.x[i])) }
INLINE V nearest(V a) { EACH_OF_FOUR(vrndnq_f32(a.x[i])) }
// x where m > 0, else +0
INLINE V where_positive(V m, V x) {
  EACH_OF_FOUR(vreinterpretq_f32_u32(
      vandq_u32(vcgtq_f32(m.x[i], vdupq_n_f32(0.f)), vreinterpretq_u32_f32(x.x[i]))))
}
#undef EACH_OF_FOUR

INLINE void transpose8(const float* from, long from_stride, float* to, long to_stride) {
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 8; j++) to[j * to_stride + i] = from[i * from_stride + j];
}
INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
INLINE void prefetch_l2(const void* p) { __builtin_prefetch(p, 0, 2); }
INLINE void pause() { __asm__ volatile("yield"); }

// Denormal numbers are zero while a kernel runs, as on x86.
struct FlushDenormals {
  uint64_t before;
  FlushDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"((before & ~(3ull << 22)) | (1ull << 24)));
  }
  ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
};

}  // namespace sacpipe
