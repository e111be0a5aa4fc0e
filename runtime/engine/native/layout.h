// Where the elements of a tensor lie. A lane of a vector is a *place*: an image of the batch, a
// block of rows and a block of columns, so that every tap of a filter is one aligned load.
#pragma once
#include <cstdint>
#include <vector>

#include "program.h"

namespace compressc {

enum class Form {
  kPlain,     // batch, channels, rows, columns: what the caller holds
  kLanes,     // groups of images, channels, rows and columns of a block, lanes
  kSamples,   // channels, vectors over the batch: for feature vectors of many samples
};

struct Layout {
  Form form = Form::kPlain;
  int64_t images = 1, rows = 1, columns = 1;  // how the lanes of a vector are shared out
  int64_t block_height = 1, block_width = 1;  // places of one lane
  int64_t halo = 0;                           // places around a block that copy its neighbours

  bool same_places(const Layout& other) const {
    return form == other.form && images == other.images && rows == other.rows &&
           columns == other.columns && block_height == other.block_height &&
           block_width == other.block_width;
  }
};

// Distances in floats from the first element; an address is the sum of one of each.
struct Addresses {
  std::vector<int64_t> image, row, column;
  int64_t channel = 0;
};

struct Shape {
  Tensor tensor;
  Layout layout;
  int64_t batch, lanes;

  int64_t row_floats() const { return (layout.block_width + 2 * layout.halo) * lanes; }
  int64_t channel_floats() const;
  int64_t groups() const;
  int64_t group_floats() const { return tensor.channels * channel_floats(); }
  int64_t floats() const { return groups() * group_floats(); }
  int64_t interior() const { return layout.halo * row_floats() + layout.halo * lanes; }
  Addresses addresses() const;
  // For each lane of each place of a channel, halos left out, the distance of its element in
  // another tensor's memory; 0 where the lane holds none. Row by row, for every group of images.
  std::vector<int32_t> sources_in(const Addresses& other) const;
  // Copies of neighbours, and zeros outside the image, for one channel.
  std::vector<HaloEntry> halo_entries() const;
};

// What a layout of lanes costs for each useful place; 1 is the best. `input` is what a window
// with these strides reads; `reach` is the halo that its input needs.
struct LayoutRequest {
  Tensor input, output;
  int64_t stride[2];
  int64_t reach;
  int64_t batch, lanes;
};
double cost_of(const LayoutRequest& request, const Layout& output);

// The layout of the output that costs least, and the same blocks seen before the strides.
Layout choose_layout(const LayoutRequest& request);
Layout before_stride(Layout output, const int64_t stride[2]);
// The layout of the output if the input keeps its own; false where blocks do not divide.
bool after_stride(const LayoutRequest& request, const Layout& input, Layout* output);

}  // namespace compressc
