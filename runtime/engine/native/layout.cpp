#include "layout.h"

#include <algorithm>

namespace compressc {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rounded down, also for negative numbers.
int64_t divide_down(int64_t a, int64_t b) { return a >= 0 ? a / b : -divide_up(-a, b); }

bool fits(const LayoutRequest& request, const Layout& output) {
  const int64_t blocks[2] = {output.rows, output.columns};
  const int64_t sizes[2] = {output.block_height, output.block_width};
  const int64_t in[2] = {request.input.height, request.input.width};
  const int64_t out[2] = {request.output.height, request.output.width};
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t covered = blocks[axis] * sizes[axis];
    if (covered < out[axis] || covered * request.stride[axis] < in[axis]) return false;
  }
  return true;
}

}  // namespace

int64_t Shape::channel_floats() const {
  if (layout.form == Form::kPlain) return tensor.places();
  return (layout.block_height + 2 * layout.halo) * row_floats();
}

int64_t Shape::groups() const {
  if (layout.form == Form::kPlain) return batch;
  return layout.form == Form::kSamples ? 1 : divide_up(batch, layout.images);
}

Addresses Shape::addresses() const {
  Addresses result;
  result.channel = channel_floats();
  if (layout.form == Form::kPlain) {
    for (int64_t n = 0; n < batch; ++n) result.image.push_back(n * tensor.elements());
    for (int64_t y = 0; y < tensor.height; ++y) result.row.push_back(y * tensor.width);
    for (int64_t x = 0; x < tensor.width; ++x) result.column.push_back(x);
    return result;
  }
  if (layout.form == Form::kSamples) {
    for (int64_t n = 0; n < batch; ++n)
      result.image.push_back(n % layout.block_width * lanes + n / layout.block_width);
    result.row = result.column = {0};
    return result;
  }
  const int64_t per_image = layout.rows * layout.columns;
  for (int64_t n = 0; n < batch; ++n)
    result.image.push_back(n / layout.images * group_floats() + n % layout.images * per_image +
                           interior());
  for (int64_t y = 0; y < tensor.height; ++y)
    result.row.push_back(y % layout.block_height * row_floats() +
                         y / layout.block_height * layout.columns);
  for (int64_t x = 0; x < tensor.width; ++x)
    result.column.push_back(x % layout.block_width * lanes + x / layout.block_width);
  return result;
}

std::vector<int32_t> Shape::sources_in(const Addresses& other) const {
  std::vector<int32_t> sources;
  const int64_t height = layout.block_height, width = layout.block_width;
  const bool is_samples = layout.form == Form::kSamples;
  for (int64_t group = 0; group < groups(); ++group)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x)
        for (int64_t lane = 0; lane < lanes; ++lane) {
          const int64_t at_x = lane % layout.columns * width + x;
          const int64_t at_y = lane / layout.columns % layout.rows * height + y;
          const int64_t n = is_samples ? at_x
                                       : group * layout.images + lane / layout.columns / layout.rows;
          const int64_t row = is_samples ? 0 : at_y, column = is_samples ? 0 : at_x;
          const bool is_there = n < batch && row < tensor.height && column < tensor.width;
          const int64_t source =
              is_there ? other.image[n] + other.row[row] + other.column[column] : 0;
          if (source > INT32_MAX) throw Refusal("a tensor is too large for the engine");
          sources.push_back(static_cast<int32_t>(source));
        }
  return sources;
}

std::vector<HaloEntry> Shape::halo_entries() const {
  std::vector<HaloEntry> entries;
  const int64_t h = layout.halo, height = layout.block_height, width = layout.block_width;
  const int64_t row = width + 2 * h;
  for (int64_t y = -h; y < height + h; ++y)
    for (int64_t x = -h; x < width + h; ++x) {
      HaloEntry entry{};
      const int64_t from_y = y - divide_down(y, height) * height;
      const int64_t from_x = x - divide_down(x, width) * width;
      entry.target = static_cast<int32_t>((y + h) * row + x + h);
      entry.source = static_cast<int32_t>((from_y + h) * row + from_x + h);
      bool is_own = entry.target == entry.source;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const int64_t column = lane % layout.columns, block_row = lane / layout.columns % layout.rows;
        const int64_t image = lane / (layout.columns * layout.rows);
        const int64_t at_y = block_row * height + y, at_x = column * width + x;
        const bool is_inside =
            at_y >= 0 && at_y < tensor.height && at_x >= 0 && at_x < tensor.width;
        entry.lane[lane] =
            is_inside ? static_cast<int32_t>((image * layout.rows + at_y / height) * layout.columns +
                                             at_x / width)
                      : -1;
        is_own = is_own && is_inside;
      }
      if (!is_own) entries.push_back(entry);
    }
  return entries;
}

double cost_of(const LayoutRequest& request, const Layout& output) {
  const double places = static_cast<double>(request.output.places() * request.batch);
  const double made = static_cast<double>(divide_up(request.batch, output.images) * request.lanes *
                                          output.block_height * output.block_width);
  const double inner = static_cast<double>(output.block_height * output.block_width);
  const double outer = static_cast<double>((output.block_height + 2 * request.reach) *
                                           (output.block_width + 2 * request.reach));
  // Filling a halo costs about what a few taps cost; short tiles leave registers empty.
  return made / places * (1 + 0.02 * (outer / inner - 1)) * (1 + 0.6 / inner);
}

Layout before_stride(Layout output, const int64_t stride[2]) {
  output.block_height *= stride[0];
  output.block_width *= stride[1];
  return output;
}

bool after_stride(const LayoutRequest& request, const Layout& input, Layout* output) {
  if (input.form != Form::kLanes || input.block_height % request.stride[0] ||
      input.block_width % request.stride[1])
    return false;
  *output = input;
  output->block_height /= request.stride[0];
  output->block_width /= request.stride[1];
  return fits(request, *output);
}

Layout choose_layout(const LayoutRequest& request) {
  Layout best;
  double least = 0;
  for (int64_t images = 1; images <= request.lanes; images *= 2)
    for (int64_t rows = 1; images * rows <= request.lanes; rows *= 2) {
      Layout layout;
      layout.form = Form::kLanes;
      layout.images = images;
      layout.rows = rows;
      layout.columns = request.lanes / images / rows;
      auto block = [&](int64_t in, int64_t out, int64_t stride, int64_t blocks) {
        return divide_up(std::max(out, divide_up(in, stride)), blocks);
      };
      layout.block_height =
          block(request.input.height, request.output.height, request.stride[0], rows);
      layout.block_width =
          block(request.input.width, request.output.width, request.stride[1], layout.columns);
      // A block that can be halved again serves the smaller images that follow.
      double cost = cost_of(request, layout);
      if (layout.block_height % 2 || layout.block_width % 2) cost *= 1.03;
      if (fits(request, layout) && (least == 0 || cost < least)) {
        least = cost;
        best = layout;
      }
    }
  if (least == 0) throw Refusal("no layout fits an operation");  // images = lanes always does
  return best;
}

}  // namespace compressc
