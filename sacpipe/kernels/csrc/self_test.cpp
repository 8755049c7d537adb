// Values whose bits are the same on every processor and instruction set: `sacpipe doctor` compares their digest.
#include <cmath>
#include <cstddef>
#include <cstdint>

#define SACPIPE_EXPORT extern "C" __attribute__((visibility("default")))

// Writes at most `capacity` values, and returns how many.
SACPIPE_EXPORT std::size_t sacpipe_self_test(float* values, std::size_t capacity) {
    std::uint32_t state = 1;
    float sum = 0.0f;
    for (std::size_t i = 0; i < capacity; ++i) {
        state = state * 1664525u + 1013904223u;
        const float x = static_cast<float>(state >> 8) * 0x1p-24f + 0.5f;
        sum = std::fmaf(x, 0.5f - sum, sum);
        values[i] = std::sqrt(x) / (1.0f + sum * sum);
    }
    return capacity;
}
