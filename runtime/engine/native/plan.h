// A program made ready for one batch size: layouts, lists of nonzeros, places in one arena.
#pragma once
#include <functional>
#include <memory>

#include "layout.h"

namespace compressc {

// Calls a function for 0 to total - 1, in any order, perhaps at once.
using Parallel = std::function<void(int64_t total, const std::function<void(int64_t)>&)>;

struct Tile {
  int64_t row, column;  // of the output, within a block
  int height, width;    // indices into kHeights and kWidths
};

// Taps and tiles of a convolution, see ConvolutionTile.
struct ConvolutionPlan {
  int block = 0;  // index into kBlocks
  int32_t blocks = 0;
  std::vector<int32_t> taps, starts;
  std::vector<float> bias;
  std::vector<Tile> tiles;
  // Without halos and strides a block is one long row.
  bool is_flat = false;
};

struct MatrixPlan {
  std::vector<float> weights, bias;
  std::vector<int32_t> indices, starts;
};

enum class Work { kMove, kConvolve, kMultiply, kFillHalo, kPool, kAverage, kActivate };

struct Step {
  Work work;
  const Operation* operation = nullptr;
  std::vector<int32_t> inputs;  // views
  int32_t output = -1, residual = -1;
  int64_t channel = 0;  // of the output where a move begins
  ConvolutionPlan convolution;
  MatrixPlan matrix;
  std::vector<HaloEntry> halo;
  // Of a move into lanes: where every lane of a channel's rows comes from, group by group.
  std::vector<int32_t> sources;
};

// A tensor somewhere: in the arena, or in an array of the caller (`external` counts them).
struct View {
  Shape shape;
  int64_t offset = -1;  // floats from the start of the arena
  int32_t external = -1;
  int32_t alias = -1;  // another view of the same memory
};

struct Plan {
  int64_t batch;
  std::vector<View> views;
  std::vector<Step> steps;
  int64_t arena_floats = 0;
};

// Samples that are worked on together; a larger batch is done in several runs.
int64_t batch_at_once(const Program& program, const KernelTable& kernels, int64_t batch);
Plan make_plan(const Program& program, const KernelTable& kernels, int64_t batch);

ConvolutionPlan plan_convolution(const Operation& op, const Program& program,
                                 const KernelTable& kernels, const Shape& input,
                                 const Shape& output, bool has_plain_rows);
MatrixPlan plan_matrix(const Operation& op, const Program& program, const KernelTable& kernels);
void place_in_arena(Plan& plan);

// `externals` are the caller's inputs, then its outputs, for `plan.batch` samples. The time of each
// step is added to `seconds` where that is given.
void run_plan(const Plan& plan, const KernelTable& kernels, float* arena,
              const std::vector<float*>& externals, int threads, const Parallel& parallel,
              std::vector<double>* seconds = nullptr);

}  // namespace compressc
