// Kernels in the vectors of the compiler (GCC and Clang). Included once per instruction set, with
// LANES and TABLE defined: all names are local to the file, so that no two sets are mixed up.
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernel_table.h"

namespace compressc {
namespace {

typedef float Vector __attribute__((vector_size(LANES * 4), aligned(LANES * 4)));
typedef int32_t Integers __attribute__((vector_size(LANES * 4), aligned(LANES * 4)));

inline Vector splat(float value) { return value - Vector{}; }
inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline Vector load_anywhere(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Vector minimum(Vector a, Vector b) { return a < b ? a : b; }
inline Vector maximum(Vector a, Vector b) { return a > b ? a : b; }

// e**x: 2**n times a polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2]; relative error below 3e-7.
inline Vector exponential(Vector x) {
  x = minimum(maximum(x, splat(-87.0f)), splat(88.0f));
  Vector shifted = x * splat(1.44269504f) + splat(12582912.0f);
  Vector n = shifted - splat(12582912.0f);
  Vector r = x - n * splat(0.693359375f) - n * splat(-2.12194440e-4f);
  Vector p = splat(1.3888889e-3f);
  p = p * r + splat(8.3333333e-3f);
  p = p * r + splat(4.1666667e-2f);
  p = p * r + splat(1.6666667e-1f);
  p = p * r + splat(0.5f);
  p = p * r + splat(1.0f);
  p = p * r + splat(1.0f);
  Integers bits = (Integers)shifted << 23;
  return (Vector)((Integers)p + bits);
}

inline Vector apply(const Epilogue& epilogue, Vector x) {
  switch (epilogue.activation) {
    case kNone:
      return x;
    case kClip:
      // A NaN stays one: both comparisons are false then and x is kept.
      x = x < splat(epilogue.low) ? splat(epilogue.low) : x;
      return x > splat(epilogue.high) ? splat(epilogue.high) : x;
    case kSigmoid:
      return splat(1.0f) / (splat(1.0f) + exponential(-x));
    case kSiLU:
      return x / (splat(1.0f) + exponential(-x));
    case kHardSigmoid:
      return minimum(maximum(x * splat(1.0f / 6) + splat(0.5f), splat(0.0f)), splat(1.0f));
    case kHardSwish:
      return x * minimum(maximum(x * splat(1.0f / 6) + splat(0.5f), splat(0.0f)), splat(1.0f));
  }
  return x;
}

inline Vector gather_lanes(const float* from, const int32_t* indices) {
#if defined(__AVX512F__)
  const __m512i at = _mm512_loadu_si512(indices);
  return (Vector)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, at, from, 4);
#elif defined(__AVX2__)
  const auto* at = reinterpret_cast<const __m256i*>(indices);
  return (Vector)_mm256_i32gather_ps(from, _mm256_loadu_si256(at), 4);
#else
  Vector value;
  for (int lane = 0; lane < LANES; ++lane) value[lane] = from[indices[lane]];
  return value;
#endif
}

template <int Block, int Height, int Width, int Step>
void convolve(const ConvolutionTile& tile) {
  // Few accumulators would wait for each other: such tiles use two sets in turn.
  constexpr int Sets = Block * Height * Width <= 6 ? 2 : 1;
  constexpr int kTap = 1 + Block;
  const int64_t row = tile.input_row;
  for (int32_t block = tile.first_block; block < tile.last_block; ++block) {
    Vector sums[Sets][Block][Height][Width];
#pragma GCC unroll 8
    for (int b = 0; b < Block; ++b) {
      Vector bias = splat(tile.bias[block * Block + b]);
#pragma GCC unroll 8
      for (int y = 0; y < Height; ++y)
#pragma GCC unroll 32
        for (int x = 0; x < Width; ++x) {
          sums[0][b][y][x] = bias;
          if (Sets == 2) sums[Sets - 1][b][y][x] = Vector{};
        }
    }
    const int32_t* tap = tile.taps + static_cast<int64_t>(tile.starts[block]) * kTap;
    const int32_t* end = tile.taps + static_cast<int64_t>(tile.starts[block + 1]) * kTap;
    auto add = [&](const int32_t* at, Vector (&set)[Block][Height][Width]) {
      const float* from = tile.input + at[0];
      Vector weights[Block];
#pragma GCC unroll 8
      for (int b = 0; b < Block; ++b) {
        float weight;
        std::memcpy(&weight, at + 1 + b, 4);
        weights[b] = splat(weight);
      }
#pragma GCC unroll 8
      for (int y = 0; y < Height; ++y)
#pragma GCC unroll 32
        for (int x = 0; x < Width; ++x) {
          Vector value = load(from + y * row + x * Step * LANES);
#pragma GCC unroll 8
          for (int b = 0; b < Block; ++b) set[b][y][x] += weights[b] * value;
        }
    };
    if (Sets == 2) {
      for (; tap + kTap < end; tap += 2 * kTap) {
        add(tap, sums[0]);
        add(tap + kTap, sums[Sets - 1]);
      }
    }
    for (; tap < end; tap += kTap) add(tap, sums[0]);
#pragma GCC unroll 8
    for (int b = 0; b < Block; ++b) {
      if (Block > 1 && block * Block + b >= tile.channels) break;
      const int64_t channel = static_cast<int64_t>(block) * Block + b;
      float* to = tile.output + channel * tile.output_channel;
      const float* other =
          tile.residual ? tile.residual + channel * tile.residual_channel : nullptr;
#pragma GCC unroll 8
      for (int y = 0; y < Height; ++y)
#pragma GCC unroll 32
        for (int x = 0; x < Width; ++x) {
          Vector value = sums[0][b][y][x];
          if (Sets == 2) value += sums[Sets - 1][b][y][x];
          value = apply(tile.before, value);
          if (other) value += load(other + y * tile.residual_row + x * LANES);
          store(to + y * tile.output_row + x * LANES, apply(tile.after, value));
        }
    }
  }
}

void multiply(const MatrixRows& job) {
  for (int32_t group = job.first_group; group < job.last_group; ++group) {
    Vector sums[4] = {load_anywhere(job.bias + group * LANES), {}, {}, {}};
    int64_t entry = job.starts[group], end = job.starts[group + 1];
    const float* weights = job.weights + entry * LANES;
    const int32_t* indices = job.indices + entry * LANES;
    auto gather = [&](int64_t k) { return gather_lanes(job.input, indices + k * LANES); };
    int64_t count = end - entry, k = 0;
    for (; k + 4 <= count; k += 4)
#pragma GCC unroll 4
      for (int set = 0; set < 4; ++set)
        sums[set] += load_anywhere(weights + (k + set) * LANES) * gather(k + set);
    for (; k < count; ++k) sums[0] += load_anywhere(weights + k * LANES) * gather(k);
    Vector total = apply(job.before, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    float values[LANES];
    int32_t rows = job.rows - group * LANES < LANES ? job.rows - group * LANES : LANES;
    if (job.residual)
      for (int32_t lane = 0; lane < rows; ++lane) total[lane] += job.residual[group * LANES + lane];
    total = apply(job.after, total);
    std::memcpy(values, &total, sizeof values);
    std::memcpy(job.output + group * LANES, values, sizeof(float) * rows);
  }
}

void collect(const float* input, float* output, const int32_t* sources, int64_t vectors) {
  for (int64_t k = 0; k < vectors; ++k)
    store(output + k * LANES, gather_lanes(input, sources + k * LANES));
}

void fill_halo(float* channel, const HaloEntry* entries, int64_t count) {
  for (int64_t k = 0; k < count; ++k) {
    const HaloEntry& entry = entries[k];
    Integers lanes;
    std::memcpy(&lanes, entry.lane, sizeof lanes);
    Integers keep = lanes >= 0;
    Integers source = (Integers)load(channel + static_cast<int64_t>(entry.source) * LANES);
    Integers moved = __builtin_shuffle(source, lanes & (LANES - 1)) & keep;
    store(channel + static_cast<int64_t>(entry.target) * LANES, (Vector)moved);
  }
}

void activate(const float* a, const float* b, float* out, int64_t vectors, Epilogue epilogue) {
  for (int64_t k = 0; k < vectors; ++k) {
    Vector value = load(a + k * LANES);
    if (b) value += load(b + k * LANES);
    store(out + k * LANES, apply(epilogue, value));
  }
}

void pool(const float* input, float* output, const int64_t* taps, int64_t count, int64_t input_row,
          int64_t input_step, int64_t output_row, int64_t rows, int64_t columns, bool is_maximum,
          float scale) {
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t x = 0; x < columns; ++x) {
      const float* from = input + y * input_row + x * input_step;
      Vector value = load(from + taps[0]);
      for (int64_t k = 1; k < count; ++k) {
        Vector next = load(from + taps[k]);
        value = is_maximum ? (next > value || next != next ? next : value) : value + next;
      }
      store(output + y * output_row + x * LANES, is_maximum ? value : value * splat(scale));
    }
}

template <int Block, int Height, int Width, int Step>
constexpr ConvolutionKernel kernel_or_null() {
  if constexpr (Block * Height * Width <= REGISTERS && (Height == 1 || Width > 1))
    return &convolve<Block, Height, Width, Step>;
  else
    return nullptr;
}

#define STEPS(B, H, W) {kernel_or_null<B, H, W, 1>(), kernel_or_null<B, H, W, 2>()}
#define WIDTHS(B, H)                                                                         \
  {STEPS(B, H, 1), STEPS(B, H, 2), STEPS(B, H, 3),  STEPS(B, H, 4),  STEPS(B, H, 7), \
   STEPS(B, H, 8), STEPS(B, H, 12), STEPS(B, H, 14), STEPS(B, H, 16)}
#define HEIGHTS(B) {WIDTHS(B, 1), WIDTHS(B, 2), WIDTHS(B, 3), WIDTHS(B, 4)}

}  // namespace

extern const KernelTable TABLE = {
    TABLE_NAME, LANES, REGISTERS, {HEIGHTS(1), HEIGHTS(2), HEIGHTS(4)}, multiply, collect, fill_halo,
    activate, pool};

}  // namespace compressc
