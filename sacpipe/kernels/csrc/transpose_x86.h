// An 8 x 8 block of float32 turned, by AVX, and the handling of denormal numbers.
#pragma once

namespace sacpipe {

INLINE void transpose8(const float* from, long from_stride, float* to, long to_stride) {
  __m256 x[8], t[8], s[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) x[i] = _mm256_loadu_ps(from + i * from_stride);
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    s[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    s[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
    s[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    s[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(s[i], s[4 + i], 0x20));
    _mm256_storeu_ps(to + (i + 4) * to_stride, _mm256_permute2f128_ps(s[i], s[4 + i], 0x31));
  }
}

INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
INLINE void prefetch_l2(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }
INLINE void pause() { _mm_pause(); }

// Denormal numbers are zero while a kernel runs: moments of units that are never active would slow it tenfold.
struct FlushDenormals {
  unsigned before = _mm_getcsr();
  FlushDenormals() { _mm_setcsr((before & ~0x6000u) | 0x8040u); }  // and round to nearest
  ~FlushDenormals() { _mm_setcsr(before); }
};

}  // namespace sacpipe
