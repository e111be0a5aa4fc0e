// Lists of nonzeros and tiles of places for a convolution, rows of a matrix for a linear layer.
#include <algorithm>
#include <cstring>
#include <map>

#include "plan.h"

namespace compressc {
namespace {

struct Nonzero {
  int32_t offset;
  float value;
};

// Nonzeros of every output channel, in the order of their places.
std::vector<std::vector<Nonzero>> list_nonzeros(const Operation& op, const Program& program,
                                                const Shape& input) {
  const Weights& weights = program.weights[op.weights];
  const int64_t out_channels = program.tensors[op.output].channels;
  const int64_t per_group = input.tensor.channels / op.groups;
  const int64_t outputs_per_group = out_channels / op.groups;
  const Window& window = op.window;
  const int64_t row = input.row_floats(), halo = input.layout.halo;
  const bool is_lanes = input.layout.form == Form::kLanes;
  std::vector<std::vector<Nonzero>> result(out_channels);
  int64_t at = 0;
  for (int64_t o = 0; o < out_channels; ++o)
    for (int64_t c = 0; c < per_group; ++c)
      for (int64_t ky = 0; ky < window.kernel[0]; ++ky)
        for (int64_t kx = 0; kx < window.kernel[1]; ++kx) {
          const float value = weights[at++];
          if (value == 0) continue;
          int64_t offset = (o / outputs_per_group * per_group + c) * input.channel_floats();
          if (is_lanes)
            offset += (ky * window.dilation[0] - window.pad[0] + halo) * row +
                      (kx * window.dilation[1] - window.pad[1] + halo) * input.lanes;
          if (offset > INT32_MAX) throw Refusal("a tensor is too large for the engine");
          result[o].push_back({static_cast<int32_t>(offset), value});
        }
  return result;
}

int largest_tile(const KernelTable& kernels, int block, int64_t places) {
  return static_cast<int>(std::min<int64_t>(kernels.registers / kBlocks[block], places));
}

using Shared = std::map<int32_t, std::vector<float>>;

std::vector<Shared> share_taps(const std::vector<std::vector<Nonzero>>& nonzeros, int size) {
  std::vector<Shared> blocks((nonzeros.size() + size - 1) / size);
  for (size_t o = 0; o < nonzeros.size(); ++o)
    for (const Nonzero& nonzero : nonzeros[o]) {
      auto& weights = blocks[o / size][nonzero.offset];
      weights.resize(size, 0.0f);
      weights[o % size] = nonzero.value;
    }
  return blocks;
}

// Cycles per place, roughly: multiply-adds, one load per tap, one broadcast per weight and tile.
double cost_per_place(const std::vector<Shared>& blocks, int size, int tile) {
  size_t taps = 0;
  for (const Shared& block : blocks) taps += block.size();
  return static_cast<double>(taps) * (0.5 * size + 0.35 + static_cast<double>(size) / tile);
}

// Widths and heights of kernels that cover a length with the least waiting.
std::vector<int> cut_length(int64_t length, const std::vector<int>& pieces) {
  std::vector<double> cost(length + 1, 0);
  std::vector<int> last(length + 1, 0);
  for (int64_t n = 1; n <= length; ++n) {
    cost[n] = -1;
    for (int piece : pieces) {
      if (piece > n) continue;
      double candidate = cost[n - piece] + piece + 3;
      if (cost[n] < 0 || candidate < cost[n]) {
        cost[n] = candidate;
        last[n] = piece;
      }
    }
  }
  std::vector<int> result;
  for (int64_t n = length; n > 0; n -= last[n]) result.push_back(last[n]);
  return result;
}

template <int N>
int index_of(const int (&values)[N], int value) {
  return static_cast<int>(std::find(values, values + N, value) - values);
}

std::vector<Tile> cut_tiles(const KernelTable& kernels, int block, int64_t height, int64_t width,
                            int step) {
  const auto& table = kernels.convolution[block];
  std::vector<int> widths;
  for (int k = 0; k < 9; ++k)
    if (table[0][k][step]) widths.push_back(kWidths[k]);
  std::vector<Tile> tiles;
  int64_t column = 0;
  for (int wide : cut_length(width, widths)) {
    std::vector<int> heights;
    for (int k = 0; k < 4; ++k)
      if (table[k][index_of(kWidths, wide)][step]) heights.push_back(kHeights[k]);
    int64_t row = 0;
    for (int high : cut_length(height, heights)) {
      tiles.push_back({row, column, index_of(kHeights, high), index_of(kWidths, wide)});
      row += high;
    }
    column += wide;
  }
  std::sort(tiles.begin(), tiles.end(), [](const Tile& a, const Tile& b) {
    return a.row != b.row ? a.row < b.row : a.column < b.column;
  });
  return tiles;
}

}  // namespace

ConvolutionPlan plan_convolution(const Operation& op, const Program& program,
                                 const KernelTable& kernels, const Shape& input,
                                 const Shape& output, bool has_plain_rows) {
  ConvolutionPlan plan;
  const auto nonzeros = list_nonzeros(op, program, input);
  const int64_t channels = output.tensor.channels;
  const Window& window = op.window;
  plan.is_flat = has_plain_rows && window.stride[0] == 1 && window.stride[1] == 1;
  const int64_t height = plan.is_flat ? 1 : output.layout.block_height;
  const int64_t width =
      output.layout.block_width * (plan.is_flat ? output.layout.block_height : 1);
  std::vector<Shared> best;
  double least = -1;
  for (int block = 0; block < 3; ++block) {
    auto shared = share_taps(nonzeros, kBlocks[block]);
    const double cost =
        cost_per_place(shared, kBlocks[block], largest_tile(kernels, block, height * width));
    if (least < 0 || cost < least) {
      least = cost;
      plan.block = block;
      best = std::move(shared);
    }
  }
  plan.blocks = static_cast<int32_t>(best.size());
  plan.starts.push_back(0);
  for (const Shared& shared : best) {
    for (const auto& [offset, weights] : shared) {
      plan.taps.push_back(offset);
      for (float weight : weights) {
        int32_t bits;
        std::memcpy(&bits, &weight, sizeof bits);
        plan.taps.push_back(bits);
      }
    }
    plan.starts.push_back(plan.starts.back() + static_cast<int32_t>(shared.size()));
  }
  plan.bias.assign(best.size() * kBlocks[plan.block], 0.0f);
  if (op.bias >= 0)
    std::copy_n(program.weights[op.bias].begin(), channels, plan.bias.begin());
  const int step = window.stride[1] <= 2 ? static_cast<int>(window.stride[1]) - 1 : 0;
  if (window.stride[1] <= 2) {
    plan.tiles = cut_tiles(kernels, plan.block, height, width, step);
  } else {
    // No kernel has longer strides: every place is a tile of its own.
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) plan.tiles.push_back({y, x, 0, 0});
  }
  return plan;
}

MatrixPlan plan_matrix(const Operation& op, const Program& program, const KernelTable& kernels) {
  MatrixPlan plan;
  const Weights& weights = program.weights[op.weights];
  const int64_t rows = program.tensors[op.output].channels;
  const int64_t columns = program.tensors[op.inputs[0]].channels;
  const int lanes = kernels.lanes;
  plan.starts.push_back(0);
  for (int64_t first = 0; first < rows; first += lanes) {
    std::vector<std::vector<Nonzero>> lists(lanes);
    size_t longest = 0;
    for (int64_t row = first; row < std::min(rows, first + lanes); ++row) {
      auto& list = lists[row - first];
      for (int64_t k = 0; k < columns; ++k)
        if (weights[row * columns + k] != 0)
          list.push_back({static_cast<int32_t>(k), weights[row * columns + k]});
      longest = std::max(longest, list.size());
    }
    for (size_t k = 0; k < longest; ++k)
      for (int lane = 0; lane < lanes; ++lane) {
        const bool is_there = k < lists[lane].size();
        plan.weights.push_back(is_there ? lists[lane][k].value : 0.0f);
        plan.indices.push_back(is_there ? lists[lane][k].offset : 0);
      }
    plan.starts.push_back(plan.starts.back() + static_cast<int32_t>(longest));
  }
  plan.bias.assign((plan.starts.size() - 1) * lanes, 0.0f);
  if (op.bias >= 0) std::copy_n(program.weights[op.bias].begin(), rows, plan.bias.begin());
  return plan;
}

}  // namespace compressc
