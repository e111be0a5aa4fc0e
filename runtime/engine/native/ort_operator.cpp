// The operator `compressc.SparseGraph` for ONNX Runtime: one node runs a whole graph.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "model.h"
#include "ort_interface.h"

namespace compressc::ort {
namespace {

constexpr int kVariadic = 2;

// Raises Refusal with ONNX Runtime's own words.
void check(Api api, Status* status) {
  if (!status) return;
  const char* text = reinterpret_cast<const char* (*)(const Status*)>(api[kGetErrorMessage])(status);
  const std::string message = text ? text : "ONNX Runtime refused";
  release(api, kReleaseStatus, status);
  throw Refusal(message);
}

Status* refuse(Api api, const char* text) {
  const std::string message = std::string("compressc engine: ") + text;
  return call(api, kCreateStatus, kFail, message.c_str());
}

struct Array {
  int type = kUndefined;
  std::vector<int64_t> sizes;
  void* data = nullptr;
  int64_t elements() const {
    int64_t count = 1;
    for (int64_t size : sizes) count *= size;
    return count;
  }
};

Array read_array(Api api, const Value* value) {
  Array array;
  TensorInfo* info = nullptr;
  check(api, call(api, kGetTensorTypeAndShape, value, &info));
  size_t rank = 0;
  check(api, call(api, kGetTensorElementType, static_cast<const TensorInfo*>(info), &array.type));
  check(api, call(api, kGetDimensionsCount, static_cast<const TensorInfo*>(info), &rank));
  array.sizes.resize(rank);
  check(api, call(api, kGetDimensions, static_cast<const TensorInfo*>(info), array.sizes.data(), rank));
  release(api, kReleaseTensorInfo, info);
  check(api, call(api, kGetTensorMutableData, const_cast<Value*>(value), &array.data));
  return array;
}

std::vector<int64_t> read_plan(Api api, const KernelInfo* info) {
  size_t count = 0;
  check(api, call(api, kGetAttributeInts, info, "plan", static_cast<int64_t*>(nullptr), &count));
  std::vector<int64_t> numbers(count);
  check(api, call(api, kGetAttributeInts, info, "plan", numbers.data(), &count));
  return numbers;
}

std::vector<Buffer> read_constants(Api api, const KernelInfo* info) {
  size_t count = 0;
  check(api, call(api, kGetInputCount, info, &count));
  std::vector<Buffer> buffers(count);
  for (size_t k = 0; k < count; ++k) {
    int is_constant = 0;
    const Value* value = nullptr;
    check(api, call(api, kGetConstantInput, info, k, &is_constant, &value));
    if (!is_constant || !value) continue;
    const Array array = read_array(api, value);
    if (array.type != kFloat && array.type != kUint8)
      throw Refusal("a weight is neither of floats nor of bytes");
    buffers[k] = {array.data, array.elements() * (array.type == kFloat ? 4 : 1)};
  }
  return buffers;
}

struct Kernel {
  Api api;
  Model model;
};

struct Session {
  Api api;
  KernelContext* context;
  void parallel(int64_t total, const std::function<void(int64_t)>& work) const {
    auto each = [](void* data, size_t k) {
      (*static_cast<const std::function<void(int64_t)>*>(data))(static_cast<int64_t>(k));
    };
    check(api, call(api, kParallelFor, static_cast<const KernelContext*>(context),
                    static_cast<void (*)(void*, size_t)>(each), static_cast<size_t>(total),
                    size_t{0}, const_cast<void*>(static_cast<const void*>(&work))));
  }
};

const float* check_input(const Array& array, const Tensor& tensor, int64_t* batch) {
  const auto& sizes = array.sizes;
  const bool fits = sizes.size() == 4 ? sizes[1] == tensor.channels && sizes[2] == tensor.height &&
                                            sizes[3] == tensor.width
                                      : sizes.size() == 2 && tensor.places() == 1 &&
                                            sizes[1] == tensor.channels;
  if (array.type != kFloat || !fits || (*batch >= 0 && sizes[0] != *batch))
    throw Refusal("an input does not have the sizes that the graph was made for");
  *batch = sizes[0];
  return static_cast<const float*>(array.data);
}

void compute(Kernel& kernel, KernelContext* context) {
  const Api api = kernel.api;
  const Program& program = kernel.model.program();
  std::vector<const float*> inputs;
  int64_t batch = -1;
  for (size_t k = 0; k < program.inputs.size(); ++k) {
    const Value* value = nullptr;
    check(api, call(api, kContextGetInput, static_cast<const KernelContext*>(context), k, &value));
    inputs.push_back(check_input(read_array(api, value), program.tensors[program.inputs[k]], &batch));
  }
  std::vector<float*> outputs;
  for (size_t k = 0; k < program.outputs.size(); ++k) {
    const Tensor& tensor = program.tensors[program.outputs[k]];
    const int64_t sizes[4] = {batch, tensor.channels, tensor.height, tensor.width};
    Value* value = nullptr;
    check(api, call(api, kContextGetOutput, context, k, static_cast<const int64_t*>(sizes),
                    static_cast<size_t>(program.output_ranks[k]), &value));
    void* data = nullptr;
    check(api, call(api, kGetTensorMutableData, value, &data));
    outputs.push_back(static_cast<float*>(data));
  }
  const Session session{api, context};
  const int threads = std::max(1u, std::thread::hardware_concurrency());
  kernel.model.run(batch, inputs, outputs, threads,
                   [&](int64_t total, const std::function<void(int64_t)>& work) {
                     session.parallel(total, work);
                   });
}

Status* create_checked(const CustomOp*, Api api, const KernelInfo* info, void** kernel) {
  try {
    const std::vector<int64_t> numbers = read_plan(api, info);
    // Tests and measurements ask for a set below what the processor has.
    const char* set = std::getenv("COMPRESSC_ENGINE_SET");
    *kernel = new Kernel{
        api, {numbers.data(), numbers.size(), read_constants(api, info), set ? set : ""}};
    return nullptr;
  } catch (const std::exception& problem) {
    return refuse(api, problem.what());
  }
}

Status* compute_checked(void* kernel, KernelContext* context) {
  auto* opened = static_cast<Kernel*>(kernel);
  try {
    compute(*opened, context);
    return nullptr;
  } catch (const std::exception& problem) {
    return refuse(opened->api, problem.what());
  }
}

CustomOp make_operator() {
  CustomOp op{};
  op.version = kVersion;
  op.get_name = [](const CustomOp*) { return "SparseGraph"; };
  op.get_provider = [](const CustomOp*) -> const char* { return nullptr; };
  op.get_input_type = [](const CustomOp*, size_t) -> int { return kUndefined; };
  op.get_input_count = [](const CustomOp*) -> size_t { return 1; };
  op.get_output_type = [](const CustomOp*, size_t) -> int { return kFloat; };
  op.get_output_count = [](const CustomOp*) -> size_t { return 1; };
  op.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.get_input_kind = [](const CustomOp*, size_t) { return kVariadic; };
  op.get_output_kind = [](const CustomOp*, size_t) { return kVariadic; };
  op.get_input_memory = [](const CustomOp*, size_t) { return 0; };
  op.get_fewest_inputs = [](const CustomOp*) { return 1; };
  op.inputs_are_alike = [](const CustomOp*) { return 0; };
  op.get_fewest_outputs = [](const CustomOp*) { return 1; };
  op.outputs_are_alike = [](const CustomOp*) { return 1; };
  op.create_kernel_checked = create_checked;
  op.compute_checked = compute_checked;
  return op;
}

}  // namespace
}  // namespace compressc::ort

// The name that SessionOptions.register_custom_ops_library looks for.
extern "C" __attribute__((visibility("default"))) compressc::ort::Status* RegisterCustomOps(
    compressc::ort::SessionOptions* options, const compressc::ort::ApiBase* base) {
  using namespace compressc::ort;
  static const CustomOp op = make_operator();
  Api api = base->get_api(kVersion);
  // An older ONNX Runtime answers null and has said why on its own.
  if (!api) return nullptr;
  // A domain outlives the session options that it is added to; there is one per process and table.
  static CustomOpDomain* domain = nullptr;
  if (!domain) {
    if (Status* status = call(api, kCreateCustomOpDomain, "compressc", &domain)) return status;
    if (Status* status = call(api, kCustomOpDomainAdd, domain, &op)) return status;
  }
  return call(api, kAddCustomOpDomain, options, domain);
}
