#include "program.h"

#include <cmath>
#include <cstring>

namespace compressc {
namespace {

constexpr int64_t kMagic = 0x43534531;  // "CSE1"
constexpr int64_t kMostElements = int64_t{1} << 31;
constexpr int64_t kMostEntries = 1 << 20;
constexpr int64_t kMostReach = 1024;

class Reader {
 public:
  Reader(const int64_t* numbers, size_t count) : at_(numbers), end_(numbers + count) {}

  int64_t next(const char* what, int64_t low, int64_t high) {
    if (at_ == end_) throw Refusal(std::string("the plan ends where ") + what + " should be");
    int64_t value = *at_++;
    if (value < low || value > high)
      throw Refusal(std::string(what) + " is " + std::to_string(value) + ", not from " +
                    std::to_string(low) + " to " + std::to_string(high));
    return value;
  }
  float number(const char* what) {
    int32_t bits = static_cast<int32_t>(next(what, INT32_MIN, INT32_MAX));
    float value;
    std::memcpy(&value, &bits, sizeof value);
    if (std::isnan(value)) throw Refusal(std::string(what) + " is not a number");
    return value;
  }
  Epilogue epilogue() {
    Epilogue result;
    result.activation = static_cast<Activation>(next("an activation", kNone, kHardSwish));
    result.low = number("a lower bound");
    result.high = number("an upper bound");
    return result;
  }
  void finish() const {
    if (at_ != end_) throw Refusal("the plan goes on after its end");
  }

 private:
  const int64_t* at_;
  const int64_t* end_;
};

enum Form : int64_t { kDense = 0, kMask = 1 };

const Buffer& buffer_at(const std::vector<Buffer>& buffers, int64_t index) {
  if (index < 0 || index >= static_cast<int64_t>(buffers.size()))
    throw Refusal("a weight reads input " + std::to_string(index) + ", which does not exist");
  if (!buffers[index].data && buffers[index].bytes == 0)
    throw Refusal("a weight reads input " + std::to_string(index) + ", which is no constant");
  return buffers[index];
}

// A mask has one bit per weight, the highest first; values are a zero and the nonzeros in order.
Weights unpack_mask(const Buffer& codes, const Buffer& values, int64_t elements) {
  int64_t stored = values.bytes / 4;
  if (values.bytes % 4 || codes.bytes < (elements + 7) / 8 || stored < 1)
    throw Refusal("a packed weight of " + std::to_string(elements) + " numbers has " +
                  std::to_string(codes.bytes) + " bytes of mask and " +
                  std::to_string(values.bytes) + " of values");
  const auto* bits = static_cast<const uint8_t*>(codes.data);
  const auto* floats = static_cast<const float*>(values.data);
  Weights result(elements, floats[0]);
  int64_t rank = 0;
  for (int64_t k = 0; k < elements; ++k)
    if (bits[k / 8] >> (7 - k % 8) & 1) {
      if (++rank >= stored) throw Refusal("a mask marks more weights than are stored");
      result[k] = floats[rank];
    }
  return result;
}

Weights read_weights(Reader& reader, const std::vector<Buffer>& buffers) {
  int64_t form = reader.next("the form of a weight", kDense, kMask);
  int64_t first = reader.next("the input of a weight", 0, kMostEntries);
  int64_t elements = reader.next("the size of a weight", 0, kMostElements);
  const Buffer& data = buffer_at(buffers, first);
  if (form == kMask) return unpack_mask(data, buffer_at(buffers, first + 1), elements);
  if (data.bytes != elements * 4)
    throw Refusal("a weight of " + std::to_string(elements) + " numbers has " +
                  std::to_string(data.bytes) + " bytes");
  const auto* floats = static_cast<const float*>(data.data);
  return Weights(floats, floats + elements);
}

int64_t span(const Window& window, int axis) {
  return (window.kernel[axis] - 1) * window.dilation[axis];
}

void check_window(const Operation& op, const Tensor& in, const Tensor& out) {
  const int64_t in_size[2] = {in.height, in.width}, out_size[2] = {out.height, out.width};
  for (int axis = 0; axis < 2; ++axis) {
    int64_t reach = span(op.window, axis);
    if (reach > kMostReach)
      throw Refusal("a window spans " + std::to_string(reach) + " places, more than the engine can");
    if (op.window.pad[axis] > reach)
      throw Refusal("a window is padded by more than it spans");
    // The last tap of the last output may lie beyond the input by less than the window spans.
    int64_t last = (out_size[axis] - 1) * op.window.stride[axis] - op.window.pad[axis] + reach;
    if (last > in_size[axis] - 1 + reach || last - reach > in_size[axis] - 1)
      throw Refusal("an output of " + std::to_string(out_size[axis]) +
                    " places reads beyond an input of " + std::to_string(in_size[axis]));
  }
}

void check_same(const Tensor& a, const Tensor& b) {
  if (a.channels != b.channels || a.height != b.height || a.width != b.width)
    throw Refusal("an operation reads tensors of different sizes");
}

int32_t tensor_index(Reader& reader, const Program& program, const std::vector<bool>& is_made) {
  auto index = static_cast<int32_t>(
      reader.next("a tensor", 0, static_cast<int64_t>(program.tensors.size()) - 1));
  if (!is_made[index])
    throw Refusal("tensor " + std::to_string(index) + " is read before it is made");
  return index;
}

Window read_window(Reader& reader) {
  Window window;
  for (int64_t& size : window.kernel) size = reader.next("a kernel size", 1, 4096);
  for (int64_t& size : window.stride) size = reader.next("a stride", 1, 4096);
  for (int64_t& size : window.pad) size = reader.next("a padding", 0, 4096);
  for (int64_t& size : window.dilation) size = reader.next("a dilation", 1, 4096);
  return window;
}

void check_convolution(const Operation& op, const Program& program) {
  const Tensor& in = program.tensors[op.inputs[0]];
  const Tensor& out = program.tensors[op.output];
  if (in.channels % op.groups || out.channels % op.groups)
    throw Refusal("channels cannot be shared out among the groups of a convolution");
  int64_t taps = op.window.kernel[0] * op.window.kernel[1];
  int64_t expected = out.channels * (in.channels / op.groups) * taps;
  if (static_cast<int64_t>(program.weights[op.weights].size()) != expected)
    throw Refusal("a convolution has " + std::to_string(program.weights[op.weights].size()) +
                  " weights, not " + std::to_string(expected));
  if (op.bias >= 0 && static_cast<int64_t>(program.weights[op.bias].size()) != out.channels)
    throw Refusal("a bias does not have one number per output channel");
  check_window(op, in, out);
}

Operation read_operation(Reader& reader, const Program& program, std::vector<bool>& is_made) {
  Operation op;
  op.kind = static_cast<Kind>(reader.next("an operation", 1, 7));
  const auto last_weight = static_cast<int64_t>(program.weights.size()) - 1;
  int64_t count = reader.next("a count of inputs", 1, op.kind == Kind::kConcat ? kMostEntries
                                                     : op.kind == Kind::kAdd   ? 2
                                                                               : 1);
  if (op.kind == Kind::kAdd && count != 2) throw Refusal("a sum does not have two inputs");
  for (int64_t k = 0; k < count; ++k) op.inputs.push_back(tensor_index(reader, program, is_made));
  op.output = static_cast<int32_t>(
      reader.next("a tensor", 0, static_cast<int64_t>(program.tensors.size()) - 1));
  const Tensor& in = program.tensors[op.inputs[0]];
  const Tensor& out = program.tensors[op.output];
  if (is_made[op.output]) throw Refusal("a tensor is made twice");
  switch (op.kind) {
    case Kind::kConvolution:
      if (reader.next("whether a sum is fused", 0, 1)) {
        op.residual = tensor_index(reader, program, is_made);
        check_same(program.tensors[op.residual], out);
      }
      op.weights = static_cast<int32_t>(reader.next("a weight", 0, last_weight));
      op.bias = static_cast<int32_t>(reader.next("a bias", -1, last_weight));
      op.groups = reader.next("a number of groups", 1, kMostEntries);
      op.window = read_window(reader);
      op.before = reader.epilogue();
      op.after = reader.epilogue();
      check_convolution(op, program);
      // From one place to one place there is no step.
      if (in.places() == 1 && out.places() == 1) op.window.stride[0] = op.window.stride[1] = 1;
      break;
    case Kind::kPool:
      op.window = read_window(reader);
      op.is_maximum = reader.next("the kind of a pool", 0, 1) != 0;
      op.counts_padding = reader.next("whether padding counts", 0, 1) != 0;
      if (in.channels != out.channels) throw Refusal("a pool changes the number of channels");
      check_window(op, in, out);
      break;
    case Kind::kGlobalAverage:
      if (in.channels != out.channels || out.places() != 1)
        throw Refusal("a global average does not give one number per channel");
      break;
    case Kind::kAdd:
      check_same(in, program.tensors[op.inputs[1]]);
      [[fallthrough]];
    case Kind::kActivate:
      check_same(in, out);
      op.after = reader.epilogue();
      break;
    case Kind::kConcat: {
      int64_t channels = 0;
      for (int32_t input : op.inputs) {
        const Tensor& part = program.tensors[input];
        if (part.height != out.height || part.width != out.width)
          throw Refusal("a concatenation joins images of different sizes");
        channels += part.channels;
      }
      if (channels != out.channels) throw Refusal("a concatenation has other channels than its parts");
      break;
    }
    case Kind::kReshape:
      if (in.elements() != out.elements()) throw Refusal("a reshape changes the number of elements");
      break;
  }
  is_made[op.output] = true;
  return op;
}

bool is_never_negative(const Epilogue& epilogue) {
  return (epilogue.activation == kClip && epilogue.low >= 0) ||
         epilogue.activation == kSigmoid || epilogue.activation == kHardSigmoid;
}

// Around an image the engine stores zeros. They leave a maximum as it is where nothing is below
// zero, and an average where padding counts.
void check_pools(const Program& program) {
  std::vector<bool> is_positive(program.tensors.size(), false);
  for (const Operation& op : program.operations) {
    bool inputs_are = true;
    for (int32_t input : op.inputs) inputs_are = inputs_are && is_positive[input];
    switch (op.kind) {
      case Kind::kConvolution:
      case Kind::kActivate:
      case Kind::kAdd:
        is_positive[op.output] = is_never_negative(op.after) ||
                                 (inputs_are && op.kind != Kind::kConvolution &&
                                  op.after.activation == kNone);
        break;
      default:
        is_positive[op.output] = inputs_are;
    }
    if (op.kind != Kind::kPool) continue;
    const Tensor& in = program.tensors[op.inputs[0]];
    const Tensor& out = program.tensors[op.output];
    const Window& window = op.window;
    const bool is_padded =
        window.pad[0] > 0 || window.pad[1] > 0 ||
        (out.height - 1) * window.stride[0] + span(window, 0) > in.height - 1 ||
        (out.width - 1) * window.stride[1] + span(window, 1) > in.width - 1;
    if (is_padded && (op.is_maximum ? !inputs_are : !op.counts_padding))
      throw Refusal("a padded pool reads numbers below zero, or does not count its padding");
  }
}

}  // namespace

Program read_program(const int64_t* numbers, size_t count, const std::vector<Buffer>& buffers) {
  Reader reader(numbers, count);
  if (reader.next("the mark of a plan", INT64_MIN, INT64_MAX) != kMagic)
    throw Refusal("this is no plan of compressc's engine, or one of another version");
  Program program;
  int64_t tensors = reader.next("a count of tensors", 1, kMostEntries);
  for (int64_t k = 0; k < tensors; ++k) {
    Tensor tensor;
    tensor.channels = reader.next("a number of channels", 1, 1 << 20);
    tensor.height = reader.next("a height", 1, 1 << 14);
    tensor.width = reader.next("a width", 1, 1 << 14);
    if (tensor.elements() > kMostElements) throw Refusal("a tensor has more than 2^31 elements");
    program.tensors.push_back(tensor);
  }
  std::vector<bool> is_made(program.tensors.size(), false);
  int64_t inputs = reader.next("a count of inputs", 1, tensors);
  for (int64_t k = 0; k < inputs; ++k) {
    auto index = static_cast<int32_t>(reader.next("an input", 0, tensors - 1));
    if (is_made[index]) throw Refusal("an input is named twice");
    is_made[index] = true;
    program.inputs.push_back(index);
  }
  int64_t outputs = reader.next("a count of outputs", 1, tensors);
  for (int64_t k = 0; k < outputs; ++k) {
    program.outputs.push_back(static_cast<int32_t>(reader.next("an output", 0, tensors - 1)));
    const auto rank = static_cast<int32_t>(reader.next("the rank of an output", 2, 4));
    if (rank == 3 || (rank == 2 && program.tensors[program.outputs.back()].places() != 1))
      throw Refusal("an output of rank " + std::to_string(rank) + " does not fit its tensor");
    program.output_ranks.push_back(rank);
  }
  int64_t weights = reader.next("a count of weights", 0, kMostEntries);
  int64_t unpacked = 0;
  for (int64_t k = 0; k < weights; ++k) {
    program.weights.push_back(read_weights(reader, buffers));
    unpacked += static_cast<int64_t>(program.weights.back().size());
    // A mask may be named many times over, each time to be unpacked.
    if (unpacked > kMostElements) throw Refusal("the weights have more than 2^31 numbers");
  }
  int64_t operations = reader.next("a count of operations", 1, kMostEntries);
  for (int64_t k = 0; k < operations; ++k)
    program.operations.push_back(read_operation(reader, program, is_made));
  for (int32_t output : program.outputs)
    if (!is_made[output]) throw Refusal("an output is never made");
  reader.finish();
  check_pools(program);
  return program;
}

}  // namespace compressc
