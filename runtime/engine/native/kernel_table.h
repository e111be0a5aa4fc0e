// What a kernel is given, and the table of kernels of one instruction set.
#pragma once
#include <cstdint>

namespace compressc {

enum Activation : int32_t { kNone = 0, kClip = 1, kSigmoid = 2, kSiLU = 3, kHardSigmoid = 4, kHardSwish = 5 };

// Applied to a vector before it is stored. `low` and `high` bound kClip; the others ignore them.
struct Epilogue {
  Activation activation = kNone;
  float low = 0, high = 0;
};

// One tile of places for a range of output blocks; a block is `block` output channels that share
// their input positions. All distances are in floats. Taps of a block follow each other in a
// stream: an int32 distance from `input`, then `block` float weights.
struct ConvolutionTile {
  const float* input;
  float* output;
  const float* residual;  // null, or the same places of another tensor
  const int32_t* taps;
  const int32_t* starts;  // of each block, counted in taps; one more than there are blocks
  const float* bias;      // one per output channel, filled up to whole blocks
  int64_t input_row;      // from one output row of the tile to the next
  int64_t output_row;
  int64_t output_channel;
  int64_t residual_row;
  int64_t residual_channel;
  int32_t first_block, last_block;
  int32_t channels;  // real output channels; the last block may hold fewer than `block`
  Epilogue before, after;  // before and after the residual is added
};
using ConvolutionKernel = void (*)(const ConvolutionTile&);

// Rows of a sparse matrix times plain vectors. Rows are taken `lanes` at a time: the k-th entries
// of all of them lie side by side, filled up with weight 0 at index 0.
struct MatrixRows {
  const float* input;
  float* output;
  const float* residual;
  const float* weights;
  const int32_t* indices;
  const int32_t* starts;  // per group of rows, in entries of one row
  const float* bias;      // filled up to whole groups
  int32_t first_group, last_group;
  int32_t rows;
  Epilogue before, after;
};

struct HaloEntry {
  int32_t target, source;  // in vectors within a channel
  int32_t lane[16];        // which lane of the source; -1 gives zero
};

constexpr int kBlocks[] = {1, 2, 4};
constexpr int kHeights[] = {1, 2, 3, 4};
constexpr int kWidths[] = {1, 2, 3, 4, 7, 8, 12, 14, 16};
constexpr int kSteps = 2;  // strides of 1 and 2 along a row

struct KernelTable {
  const char* name;
  int lanes;
  int registers;  // accumulators that a tile may hold
  // By block, height, width and stride; null where it would not fit into registers.
  ConvolutionKernel convolution[3][4][9][kSteps];
  void (*matrix)(const MatrixRows&);
  // Vectors put together from any places: `lanes` distances in floats for each.
  void (*collect)(const float* input, float* output, const int32_t* sources, int64_t vectors);
  void (*fill_halo)(float* channel, const HaloEntry* entries, int64_t count);
  void (*activate)(const float* a, const float* b, float* out, int64_t vectors, Epilogue epilogue);
  void (*pool)(const float* input, float* output, const int64_t* taps, int64_t count,
               int64_t input_row, int64_t input_step, int64_t output_row, int64_t rows,
               int64_t columns, bool is_maximum, float scale);
};

extern const KernelTable kGenericKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif

}  // namespace compressc
