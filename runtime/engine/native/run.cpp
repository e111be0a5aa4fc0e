// Runs the steps of a plan.
#include <algorithm>
#include <chrono>

#include "plan.h"

namespace compressc {
namespace {

// Work is shared out in parts of at least this many floats made.
constexpr int64_t kLeastPart = 4096;

class Runner {
 public:
  Runner(const Plan& plan, const KernelTable& kernels, float* arena,
         const std::vector<float*>& externals, int threads, const Parallel& parallel)
      : plan_(plan), kernels_(kernels), arena_(arena), externals_(externals), threads_(threads),
        parallel_(parallel) {}

  void run(std::vector<double>* seconds) {
    using Clock = std::chrono::steady_clock;
    for (size_t at = 0; at < plan_.steps.size(); ++at) {
      const auto begin = seconds ? Clock::now() : Clock::time_point();
      run_step(plan_.steps[at]);
      if (seconds) (*seconds)[at] += std::chrono::duration<double>(Clock::now() - begin).count();
    }
  }

 private:
  void run_step(const Step& step) {
    switch (step.work) {
      case Work::kMove: return move(step);
      case Work::kConvolve: return convolve(step);
      case Work::kMultiply: return multiply(step);
      case Work::kFillHalo: return fill_halo(step);
      case Work::kPool: return pool(step);
      case Work::kAverage: return average(step);
      case Work::kActivate: return activate(step);
    }
  }

  const Shape& shape(int32_t view) const { return plan_.views[view].shape; }

  float* data(int32_t view) const {
    const View& at = plan_.views[view];
    return at.external >= 0 ? externals_[at.external] : arena_ + at.offset;
  }

  // Calls `work(first, last)` for ranges that cover 0 to `count`, each of about equal cost.
  template <typename F>
  void share_out(int64_t count, int64_t floats, F work) const {
    const int64_t parts =
        threads_ == 1 ? 1 : std::max<int64_t>(1, std::min({count, floats / kLeastPart, int64_t{4} * threads_}));
    if (parts == 1) return work(0, count);
    parallel_(parts, [&](int64_t part) { work(count * part / parts, count * (part + 1) / parts); });
  }

  void move(const Step& step) const {
    const Shape& from = shape(step.inputs[0]);
    const Shape& to = shape(step.output);
    const float* source = data(step.inputs[0]);
    float* target = data(step.output);
    if (!step.sources.empty()) return collect(step);
    const Addresses a = from.addresses(), b = to.addresses();
    share_out(from.tensor.channels, from.tensor.elements() * plan_.batch, [&](int64_t first, int64_t last) {
      for (size_t n = 0; n < a.image.size(); ++n)
        for (int64_t c = first; c < last; ++c)
          for (size_t y = 0; y < a.row.size(); ++y) {
            const float* in = source + a.image[n] + c * a.channel + a.row[y];
            float* out = target + b.image[n] + (c + step.channel) * b.channel + b.row[y];
            for (size_t x = 0; x < a.column.size(); ++x) out[b.column[x]] = in[a.column[x]];
          }
    });
  }

  void collect(const Step& step) const {
    const Shape& from = shape(step.inputs[0]);
    const Shape& to = shape(step.output);
    const float* source = data(step.inputs[0]);
    float* target = data(step.output) + to.interior();
    const int64_t width = to.layout.block_width, rows = to.layout.block_height;
    share_out(from.tensor.channels, from.tensor.elements() * plan_.batch, [&](int64_t first, int64_t last) {
      for (int64_t group = 0; group < to.groups(); ++group)
        for (int64_t c = first; c < last; ++c)
          for (int64_t y = 0; y < rows; ++y)
            kernels_.collect(source + c * from.channel_floats(),
                             target + group * to.group_floats() +
                                 (c + step.channel) * to.channel_floats() + y * to.row_floats(),
                             step.sources.data() + (group * rows + y) * width * to.lanes, width);
    });
  }

  void convolve(const Step& step) const {
    const ConvolutionPlan& plan = step.convolution;
    const Operation& op = *step.operation;
    const Shape& in = shape(step.inputs[0]);
    const Shape& out = shape(step.output);
    const int step_index = op.window.stride[1] == 2 ? 1 : 0;
    const auto tiles = static_cast<int64_t>(plan.tiles.size());
    ConvolutionTile common{};
    common.taps = plan.taps.data();
    common.starts = plan.starts.data();
    common.bias = plan.bias.data();
    common.input_row = in.row_floats() * op.window.stride[0];
    common.output_row = out.row_floats();
    common.output_channel = out.channel_floats();
    common.channels = static_cast<int32_t>(out.tensor.channels);
    common.before = op.before;
    common.after = op.after;
    const Shape* residual = step.residual < 0 ? nullptr : &shape(step.residual);
    if (residual) {
      common.residual_row = residual->row_floats();
      common.residual_channel = residual->channel_floats();
    }
    auto run_tile = [&](int64_t group, const Tile& tile, int32_t first, int32_t last) {
      ConvolutionTile job = common;
      job.input = data(step.inputs[0]) + group * in.group_floats() + tile.row * job.input_row +
                  tile.column * op.window.stride[1] * in.lanes;
      auto at = [&](int32_t view, const Shape& where) {
        return data(view) + group * where.group_floats() + where.interior() +
               tile.row * where.row_floats() + tile.column * where.lanes;
      };
      job.output = at(step.output, out);
      job.residual = residual ? at(step.residual, *residual) : nullptr;
      job.first_block = first;
      job.last_block = last;
      kernels_.convolution[plan.block][tile.height][tile.width][step_index](job);
    };
    const int64_t groups = out.groups();
    int64_t chunks = 1;
    if (threads_ > 1) {
      const int64_t wanted = std::min<int64_t>(4 * threads_, out.floats() / kLeastPart + 1);
      chunks = std::min<int64_t>(plan.blocks, std::max<int64_t>(1, wanted / (groups * tiles)));
    }
    const int64_t parts = groups * tiles * chunks;
    share_out(parts, out.floats(), [&](int64_t first, int64_t last) {
      for (int64_t part = first; part < last; ++part) {
        const int64_t chunk = part % chunks, tile = part / chunks % tiles;
        run_tile(part / chunks / tiles, plan.tiles[tile],
                 static_cast<int32_t>(plan.blocks * chunk / chunks),
                 static_cast<int32_t>(plan.blocks * (chunk + 1) / chunks));
      }
    });
  }

  void multiply(const Step& step) const {
    const int64_t columns = shape(step.inputs[0]).tensor.channels;
    const int64_t rows = shape(step.output).tensor.channels;
    const auto groups = static_cast<int64_t>(step.matrix.starts.size()) - 1;
    for (int64_t n = 0; n < plan_.batch; ++n) {
      MatrixRows job{};
      job.input = data(step.inputs[0]) + n * columns;
      job.output = data(step.output) + n * rows;
      job.residual = step.residual < 0 ? nullptr : data(step.residual) + n * rows;
      job.weights = step.matrix.weights.data();
      job.indices = step.matrix.indices.data();
      job.starts = step.matrix.starts.data();
      job.bias = step.matrix.bias.data();
      job.rows = static_cast<int32_t>(rows);
      job.before = step.operation->before;
      job.after = step.operation->after;
      share_out(groups, static_cast<int64_t>(step.matrix.weights.size()), [&](int64_t first, int64_t last) {
        MatrixRows part = job;
        part.first_group = static_cast<int32_t>(first);
        part.last_group = static_cast<int32_t>(last);
        kernels_.matrix(part);
      });
    }
  }

  void fill_halo(const Step& step) const {
    const Shape& at = shape(step.output);
    float* first_channel = data(step.output);
    const int64_t channel = at.channel_floats();
    share_out(at.groups() * at.tensor.channels, at.floats(), [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c)
        kernels_.fill_halo(first_channel + c * channel, step.halo.data(),
                           static_cast<int64_t>(step.halo.size()));
    });
  }

  void pool(const Step& step) const {
    const Operation& op = *step.operation;
    const Shape& in = shape(step.inputs[0]);
    const Shape& out = shape(step.output);
    const Window& window = op.window;
    std::vector<int64_t> taps;
    for (int64_t y = 0; y < window.kernel[0]; ++y)
      for (int64_t x = 0; x < window.kernel[1]; ++x)
        taps.push_back((y * window.dilation[0] - window.pad[0]) * in.row_floats() +
                       (x * window.dilation[1] - window.pad[1]) * in.lanes);
    const float scale = 1.0f / static_cast<float>(taps.size());
    share_out(out.groups() * out.tensor.channels, out.floats(), [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c)
        kernels_.pool(data(step.inputs[0]) + c * in.channel_floats() + in.interior(),
                      data(step.output) + c * out.channel_floats() + out.interior(), taps.data(),
                      static_cast<int64_t>(taps.size()), in.row_floats() * window.stride[0],
                      in.lanes * window.stride[1], out.row_floats(), out.layout.block_height,
                      out.layout.block_width, op.is_maximum, scale);
    });
  }

  void average(const Step& step) const {
    const Shape& in = shape(step.inputs[0]);
    const float* source = data(step.inputs[0]);
    float* target = data(step.output);
    const Addresses from = in.addresses();
    const int64_t channels = in.tensor.channels;
    const float scale = 1.0f / static_cast<float>(in.tensor.places());
    for (int64_t n = 0; n < plan_.batch; ++n)
      for (int64_t c = 0; c < channels; ++c) {
        // A sum per row first: rounding stays small on large images.
        float total = 0;
        for (int64_t row : from.row) {
          const float* at = source + from.image[n] + c * from.channel + row;
          float sum = 0;
          for (int64_t column : from.column) sum += at[column];
          total += sum;
        }
        target[n * channels + c] = total * scale;
      }
  }

  void activate(const Step& step) const {
    const Shape& out = shape(step.output);
    const Epilogue epilogue = step.operation->after;
    const bool has_two = step.inputs.size() == 2;
    if (out.layout.form != Form::kLanes) {
      const int64_t vectors = (out.floats() + out.lanes - 1) / out.lanes;
      kernels_.activate(data(step.inputs[0]), has_two ? data(step.inputs[1]) : nullptr,
                        data(step.output), vectors, epilogue);
      return;
    }
    const Shape& a = shape(step.inputs[0]);
    const Shape& b = shape(step.inputs.back());
    share_out(out.groups() * out.tensor.channels, out.floats(), [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c)
        for (int64_t y = 0; y < out.layout.block_height; ++y) {
          auto row = [&](int32_t view, const Shape& where) {
            return data(view) + c * where.channel_floats() + where.interior() + y * where.row_floats();
          };
          kernels_.activate(row(step.inputs[0], a), has_two ? row(step.inputs[1], b) : nullptr,
                            row(step.output, out), out.layout.block_width, epilogue);
        }
    });
  }

  const Plan& plan_;
  const KernelTable& kernels_;
  float* arena_;
  const std::vector<float*>& externals_;
  const int threads_;
  const Parallel& parallel_;
};

}  // namespace

void run_plan(const Plan& plan, const KernelTable& kernels, float* arena,
              const std::vector<float*>& externals, int threads, const Parallel& parallel,
              std::vector<double>* seconds) {
  Runner(plan, kernels, arena, externals, threads, parallel).run(seconds);
}

}  // namespace compressc
