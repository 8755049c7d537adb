// The peak of fused multiply-adds of one core: independent chains in registers, no memory.
// It is a yardstick for the kernels: a product of matrices cannot be faster.
#include <ctime>

#if defined(__AVX2__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

#define SACPIPE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// Twice the latency-throughput product of the processors known (5 cycles, 2 units; ARM: 4 cycles, 4 units),
// or as many as there are registers beside the two operands.
#if defined(__AVX512F__)
struct Fma {
    using Vector = __m512;
    static constexpr int chains = 16;
    static constexpr double flops = 32;
    static Vector set(float value) { return _mm512_set1_ps(value); }
    static Vector step(Vector a, Vector b, Vector sum) { return _mm512_fmadd_ps(a, b, sum); }
    static float first(Vector v) { return _mm512_cvtss_f32(v); }
};
#elif defined(__AVX2__)
struct Fma {
    using Vector = __m256;
    static constexpr int chains = 12;
    static constexpr double flops = 16;
    static Vector set(float value) { return _mm256_set1_ps(value); }
    static Vector step(Vector a, Vector b, Vector sum) { return _mm256_fmadd_ps(a, b, sum); }
    static float first(Vector v) { return _mm256_cvtss_f32(v); }
};
#else
struct Fma {
    using Vector = float32x4_t;
    static constexpr int chains = 24;
    static constexpr double flops = 8;
    static Vector set(float value) { return vdupq_n_f32(value); }
    static Vector step(Vector a, Vector b, Vector sum) { return vfmaq_f32(sum, a, b); }
    static float first(Vector v) { return vgetq_lane_f32(v, 0); }
};
#endif

#if defined(__AVX512BF16__)
struct Bf16Dot {
    using Vector = __m512;
    static constexpr int chains = 16;
    static constexpr double flops = 64;
    static Vector set(float value) { return _mm512_set1_ps(value); }
    static Vector step(Vector a, Vector b, Vector sum) {
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    }
    static float first(Vector v) { return _mm512_cvtss_f32(v); }
};
#endif

// The clock of the thread: time of other processes on the core does not count.
double thread_seconds() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <class Op>
__attribute__((noinline)) float chains(long rounds, float operand) {
    const typename Op::Vector a = Op::set(operand);
    const typename Op::Vector b = Op::set(-operand);
    typename Op::Vector sums[Op::chains];
    for (int i = 0; i < Op::chains; ++i) sums[i] = Op::set(static_cast<float>(i));
    for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
        for (int i = 0; i < Op::chains; ++i) sums[i] = Op::step(a, b, sums[i]);
    }
    float total = 0.0f;
#pragma GCC unroll 24
    for (int i = 0; i < Op::chains; ++i) total += Op::first(sums[i]);
    return total;
}

// The best of several measurements of some milliseconds: one that an interrupt or a lower clock disturbed is slower.
// Much shorter ones are wrong by the resolution of the thread's clock, upwards too.
template <class Op>
double peak(double seconds) {
    volatile float result = 0.0f;
    constexpr long rounds = 2000000;
    double best = 0.0;
    for (double left = seconds; left > 0.0;) {
        const double start = thread_seconds();
        result = result + chains<Op>(rounds, 0.5f);
        const double taken = thread_seconds() - start;
        if (!(taken > 0.0)) continue;
        left -= taken;
        const double rate = 1e-9 * static_cast<double>(rounds) * Op::chains * Op::flops / taken;
        best = rate > best ? rate : best;
    }
    return best;
}

}  // namespace

// GFLOP/s of one core in float32. A multiply-add counts as two.
SACPIPE_EXPORT double sacpipe_fma_peak(double seconds) { return peak<Fma>(seconds); }

// GFLOP/s of one core with bfloat16 operands and float32 sums; 0 where the instruction set has no such instruction.
SACPIPE_EXPORT double sacpipe_bf16_peak([[maybe_unused]] double seconds) {
#if defined(__AVX512BF16__)
    return peak<Bf16Dot>(seconds);
#else
    return 0.0;
#endif
}
