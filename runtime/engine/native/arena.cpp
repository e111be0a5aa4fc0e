// Places in one arena: a tensor's memory is used again once nothing reads it any more.
#include <algorithm>

#include "plan.h"

namespace compressc {
namespace {

constexpr int64_t kAlignment = 32;  // floats: two cache lines
constexpr int64_t kMostFloats = int64_t{1} << 32;

struct Life {
  int64_t first = -1, last = -1;
  int64_t floats = 0;
};

int32_t owner_of(const Plan& plan, int32_t view) {
  while (plan.views[view].alias >= 0) view = plan.views[view].alias;
  return view;
}

}  // namespace

void place_in_arena(Plan& plan) {
  std::vector<Life> lives(plan.views.size());
  auto use = [&](int32_t view, int64_t at) {
    Life& life = lives[owner_of(plan, view)];
    if (life.first < 0) life.first = at;
    life.last = at;
  };
  for (size_t at = 0; at < plan.steps.size(); ++at) {
    const Step& step = plan.steps[at];
    for (int32_t input : step.inputs) use(input, static_cast<int64_t>(at));
    if (step.residual >= 0) use(step.residual, static_cast<int64_t>(at));
    use(step.output, static_cast<int64_t>(at));
  }
  std::vector<int32_t> order;
  for (size_t view = 0; view < plan.views.size(); ++view) {
    if (plan.views[view].external >= 0 || plan.views[view].alias >= 0 || lives[view].first < 0)
      continue;
    const int64_t floats = plan.views[view].shape.floats();
    // One alignment more, so that neighbours do not share a set of the cache at every channel.
    lives[view].floats = (floats + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
    order.push_back(static_cast<int32_t>(view));
  }
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return lives[a].floats != lives[b].floats ? lives[a].floats > lives[b].floats : a < b;
  });
  std::vector<int32_t> placed;
  for (int32_t view : order) {
    // The lowest gap between the tensors that live at the same time.
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (int32_t other : placed)
      if (lives[other].first <= lives[view].last && lives[view].first <= lives[other].last)
        taken.emplace_back(plan.views[other].offset, lives[other].floats);
    std::sort(taken.begin(), taken.end());
    int64_t offset = 0;
    for (const auto& [start, floats] : taken) {
      if (start - offset >= lives[view].floats) break;
      offset = std::max(offset, start + floats);
    }
    plan.views[view].offset = offset;
    plan.arena_floats = std::max(plan.arena_floats, offset + lives[view].floats);
    placed.push_back(view);
  }
  if (plan.arena_floats > kMostFloats)
    throw Refusal("the network needs more than 16 GiB of memory between its layers");
  for (size_t view = 0; view < plan.views.size(); ++view)
    if (plan.views[view].alias >= 0)
      plan.views[view].offset = plan.views[owner_of(plan, static_cast<int32_t>(view))].offset;
}

}  // namespace compressc
