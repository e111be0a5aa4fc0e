#include "plan.h"

#include <algorithm>

namespace compressc {
namespace {

// A new layout has to be this much better, because elements are moved one by one.
constexpr double kWorthMoving = 1.2;
// From this many samples on, feature vectors fill the lanes with samples. Fewer are gathered.
constexpr int64_t kManySamples = 6;
constexpr int64_t kMostFloats = int64_t{1} << 30;

int64_t reach_of(const Operation& op) {
  int64_t reach = 0;
  for (int axis = 0; axis < 2; ++axis) {
    const Window& window = op.window;
    const int64_t span = (window.kernel[axis] - 1) * window.dilation[axis];
    reach = std::max({reach, window.pad[axis], span - window.pad[axis] - window.stride[axis] + 1});
  }
  return reach;
}

bool is_windowed(const Operation& op) {
  return op.kind == Kind::kConvolution || op.kind == Kind::kPool;
}

class Planner {
 public:
  Planner(const Program& program, const KernelTable& kernels, int64_t batch)
      : program_(program), kernels_(kernels), views_of_(program.tensors.size()),
        reach_(program.tensors.size(), 0), is_bordered_(program.tensors.size(), false),
        last_reader_(program.tensors.size(), nullptr) {
    plan_.batch = batch;
    for (const Operation& op : program.operations) {
      for (int32_t input : op.inputs) last_reader_[input] = &op;
      if (op.residual >= 0) last_reader_[op.residual] = &op;
    }
    for (int32_t output : program.outputs) last_reader_[output] = nullptr;
    for (const Operation& op : program.operations)
      if (is_windowed(op)) {
        int64_t& reach = reach_[op.inputs[0]];
        reach = std::max(reach, reach_of(op));
        // Places behind the end of an image hold anything until they are cleared.
        if (op.window.kernel[0] > 1 || op.window.kernel[1] > 1 || reach > 0)
          is_bordered_[op.inputs[0]] = true;
      }
  }

  Plan make() {
    int32_t external = 0;
    for (int32_t input : program_.inputs) add_view(input, Layout{}, external++);
    for (const Operation& op : program_.operations) plan_operation(op);
    for (int32_t output : program_.outputs) {
      const int32_t source = any_view(output);
      View view{{program_.tensors[output], Layout{}, plan_.batch, kernels_.lanes}, -1, external++};
      plan_.views.push_back(view);
      add_move(source, static_cast<int32_t>(plan_.views.size()) - 1, 0);
    }
    place_in_arena(plan_);
    return std::move(plan_);
  }

 private:
  int32_t add_view(int32_t tensor, Layout layout, int32_t external = -1) {
    if (layout.form == Form::kLanes) layout.halo = reach_[tensor];
    plan_.views.push_back(
        {{program_.tensors[tensor], layout, plan_.batch, kernels_.lanes}, -1, external});
    if (plan_.views.back().shape.floats() > kMostFloats)
      throw Refusal("a tensor needs more than 4 GiB; run fewer samples at once");
    const auto index = static_cast<int32_t>(plan_.views.size()) - 1;
    views_of_[tensor].push_back(index);
    return index;
  }

  // The newest view that is not the caller's array, or the caller's array if there is no other.
  int32_t any_view(int32_t tensor) const { return views_of_[tensor].back(); }

  Step& add_step(Work work, const Operation* op, std::vector<int32_t> inputs, int32_t output) {
    Step step;
    step.work = work;
    step.operation = op;
    step.inputs = std::move(inputs);
    step.output = output;
    plan_.steps.push_back(std::move(step));
    return plan_.steps.back();
  }

  void add_move(int32_t from, int32_t to, int64_t channel) {
    const Shape& target = plan_.views[to].shape;
    Step& step = add_step(Work::kMove, nullptr, {from}, to);
    step.channel = channel;
    if (target.layout.form != Form::kPlain)
      step.sources = target.sources_in(plan_.views[from].shape.addresses());
  }

  // Where windows look beyond the image, or beyond a block.
  void add_halo(int32_t tensor, int32_t view) {
    const Shape& shape = plan_.views[view].shape;
    if (shape.layout.form != Form::kLanes || !is_bordered_[tensor]) return;
    std::vector<HaloEntry> entries = shape.halo_entries();
    if (!entries.empty())
      add_step(Work::kFillHalo, nullptr, {view}, view).halo = std::move(entries);
  }

  // A view of a tensor in these places, made by moving its elements if there is none.
  int32_t view_in(int32_t tensor, const Layout& layout) {
    for (int32_t view : views_of_[tensor])
      if (plan_.views[view].external < 0 && plan_.views[view].shape.layout.same_places(layout))
        return view;
    const int32_t source = any_view(tensor);
    const int32_t view = add_view(tensor, layout);
    add_move(source, view, 0);
    add_halo(tensor, view);
    return view;
  }

  LayoutRequest request_of(const Operation& op) const {
    LayoutRequest request{program_.tensors[op.inputs[0]], program_.tensors[op.output],
                          {1, 1}, reach_[op.inputs[0]], plan_.batch, kernels_.lanes};
    if (is_windowed(op)) std::copy_n(op.window.stride, 2, request.stride);
    return request;
  }

  // Layout of the output, and the view of the input that leads to it.
  std::pair<int32_t, Layout> choose_places(const Operation& op) {
    const LayoutRequest request = request_of(op);
    const Layout fresh = choose_layout(request);
    const double fresh_cost = cost_of(request, fresh);
    for (int32_t view : views_of_[op.inputs[0]]) {
      Layout derived;
      if (after_stride(request, plan_.views[view].shape.layout, &derived) &&
          cost_of(request, derived) <= fresh_cost * kWorthMoving)
        return {view, derived};
    }
    return {view_in(op.inputs[0], before_stride(fresh, request.stride)), fresh};
  }

  // One number per channel in and out, and nothing but that is read.
  bool is_features(const Operation& op) const {
    const Window& window = op.window;
    return window.kernel[0] == 1 && window.kernel[1] == 1 && program_.tensors[op.inputs[0]].places() == 1 &&
           program_.tensors[op.output].places() == 1;
  }

  Layout samples_layout() const {
    Layout layout;
    layout.form = Form::kSamples;
    layout.columns = kernels_.lanes;
    layout.block_width = (plan_.batch + kernels_.lanes - 1) / kernels_.lanes;
    return layout;
  }

  Layout feature_layout() const {
    return plan_.batch >= kManySamples ? samples_layout() : Layout{};
  }

  void plan_operation(const Operation& op) {
    switch (op.kind) {
      case Kind::kConvolution:
        plan_convolution_step(op);
        break;
      case Kind::kPool: {
        const auto [input, layout] = choose_places(op);
        const int32_t output = add_view(op.output, layout);
        add_step(Work::kPool, &op, {input}, output);
        add_halo(op.output, output);
        break;
      }
      case Kind::kGlobalAverage:
        add_step(Work::kAverage, &op, {any_view(op.inputs[0])}, add_view(op.output, Layout{}));
        break;
      case Kind::kAdd:
      case Kind::kActivate: {
        const Layout layout = places_for_all(op);
        std::vector<int32_t> inputs;
        for (int32_t tensor : op.inputs) inputs.push_back(view_in(tensor, layout));
        const int32_t output = add_view(op.output, layout);
        add_step(Work::kActivate, &op, inputs, output);
        add_halo(op.output, output);
        break;
      }
      case Kind::kConcat: {
        const int32_t output = add_view(op.output, places_for_all(op));
        int64_t channel = 0;
        for (int32_t tensor : op.inputs) {
          add_move(any_view(tensor), output, channel);
          channel += program_.tensors[tensor].channels;
        }
        add_halo(op.output, output);
        break;
      }
      case Kind::kReshape:
        plan_reshape(op);
        break;
    }
  }

  // The places of the first input that has been laid out already.
  Layout places_for_all(const Operation& op) {
    for (int32_t tensor : op.inputs) {
      const View& view = plan_.views[any_view(tensor)];
      if (view.external < 0 && view.shape.layout.form != Form::kPlain) return view.shape.layout;
    }
    if (program_.tensors[op.output].places() == 1) return feature_layout();
    return choose_layout(request_of(op));
  }

  void plan_convolution_step(const Operation& op) {
    const bool is_small = op.groups == 1 && plan_.batch < kManySamples;
    if (is_features(op) && is_small) {
      const int32_t input = view_in(op.inputs[0], Layout{});
      const int32_t residual = op.residual < 0 ? -1 : view_in(op.residual, Layout{});
      Step& step = add_step(Work::kMultiply, &op, {input}, add_view(op.output, Layout{}));
      step.residual = residual;
      step.matrix = plan_matrix(op, program_, kernels_);
      return;
    }
    int32_t input;
    Layout layout;
    if (is_features(op)) {
      layout = samples_layout();
      input = view_in(op.inputs[0], layout);
    } else {
      std::tie(input, layout) = choose_places(op);
    }
    const int32_t residual = op.residual < 0 ? -1 : view_in(op.residual, layout);
    const int32_t output = add_view(op.output, layout);
    if (residual >= 0 && may_replace(op)) plan_.views[output].alias = residual;
    Step& step = add_step(Work::kConvolve, &op, {input}, output);
    step.residual = residual;
    const Shape& in = plan_.views[input].shape;
    const Shape& out = plan_.views[output].shape;
    const bool has_plain_rows =
        in.layout.halo == 0 && out.layout.halo == 0 &&
        (residual < 0 || plan_.views[residual].shape.layout.halo == 0);
    step.convolution = plan_convolution(op, program_, kernels_, in, out, has_plain_rows);
    add_halo(op.output, output);
  }

  // Whether a sum may be written over what was added: nothing else reads that, and every number
  // of it is read just before its place is written. It saves memory traffic, which is what large
  // images wait for.
  bool may_replace(const Operation& op) const {
    return last_reader_[op.residual] == &op && op.residual != op.inputs[0] &&
           reach_[op.residual] == reach_[op.output];
  }

  // Rows and columns become channels: the order of the caller's arrays is kept.
  void plan_reshape(const Operation& op) {
    const int32_t source = view_in(op.inputs[0], Layout{});
    const int32_t output = add_view(op.output, Layout{});
    plan_.views[output].alias = source;
  }

  const Program& program_;
  const KernelTable& kernels_;
  Plan plan_;
  std::vector<std::vector<int32_t>> views_of_;
  std::vector<int64_t> reach_;
  std::vector<bool> is_bordered_;
  std::vector<const Operation*> last_reader_;
};

}  // namespace

int64_t batch_at_once(const Program& program, const KernelTable& kernels, int64_t batch) {
  int64_t fewest = 0;
  for (const Operation& op : program.operations) {
    const int64_t places = program.tensors[op.output].places();
    if (is_windowed(op) && places > 1 && (fewest == 0 || places < fewest)) fewest = places;
  }
  if (fewest == 0) return std::min<int64_t>(batch, 8 * kernels.lanes);
  // Enough places for a tile that keeps both multipliers busy, no more: caches are small.
  int64_t samples = 1;
  while (samples < kernels.lanes && fewest * samples < 12 * kernels.lanes) samples *= 2;
  return std::min(batch, samples);
}

Plan make_plan(const Program& program, const KernelTable& kernels, int64_t batch) {
  return Planner(program, kernels, batch).make();
}

}  // namespace compressc
