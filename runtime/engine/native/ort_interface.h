// The part of ONNX Runtime's C interface that a custom operator needs, declared by hand because no
// wheel carries its headers. The table of functions only ever grows at its end, so positions hold
// for every version from 1.17 on; a test calls each of them against the installed version.
#pragma once
#include <cstddef>
#include <cstdint>

namespace compressc::ort {

struct Status;
struct Value;
struct TensorInfo;
struct KernelInfo;
struct KernelContext;
struct CustomOpDomain;
struct SessionOptions;

constexpr uint32_t kVersion = 17;
constexpr int kFail = 1;
enum ElementType : int { kUndefined = 0, kFloat = 1, kUint8 = 2 };

// Functions of the table, by position.
enum Slot : int {
  kCreateStatus = 0,
  kGetErrorMessage = 2,
  kCreateCustomOpDomain = 26,
  kCustomOpDomainAdd = 27,
  kAddCustomOpDomain = 28,
  kGetTensorMutableData = 51,
  kGetTensorElementType = 60,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetTensorTypeAndShape = 65,
  kContextGetInput = 90,
  kContextGetOutput = 91,
  kReleaseStatus = 93,
  kReleaseTensorInfo = 99,
  kGetAttributeInts = 163,
  kGetInputCount = 230,
  kGetConstantInput = 249,
  kParallelFor = 274,
};

using Api = void* const*;

struct ApiBase {
  Api (*get_api)(uint32_t version);
  const char* (*get_version)();
};

// Calls a function of the table whose answer is a status.
template <typename... Arguments>
Status* call(Api api, Slot slot, Arguments... arguments) {
  return reinterpret_cast<Status* (*)(Arguments...)>(api[slot])(arguments...);
}
template <typename... Arguments>
void release(Api api, Slot slot, Arguments... arguments) {
  reinterpret_cast<void (*)(Arguments...)>(api[slot])(arguments...);
}

struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const CustomOp*, Api, const KernelInfo*);
  const char* (*get_name)(const CustomOp*);
  const char* (*get_provider)(const CustomOp*);
  int (*get_input_type)(const CustomOp*, size_t);
  size_t (*get_input_count)(const CustomOp*);
  int (*get_output_type)(const CustomOp*, size_t);
  size_t (*get_output_count)(const CustomOp*);
  void (*compute)(void*, KernelContext*);
  void (*destroy)(void*);
  int (*get_input_kind)(const CustomOp*, size_t);
  int (*get_output_kind)(const CustomOp*, size_t);
  int (*get_input_memory)(const CustomOp*, size_t);
  int (*get_fewest_inputs)(const CustomOp*);
  int (*inputs_are_alike)(const CustomOp*);
  int (*get_fewest_outputs)(const CustomOp*);
  int (*outputs_are_alike)(const CustomOp*);
  Status* (*create_kernel_checked)(const CustomOp*, Api, const KernelInfo*, void**);
  Status* (*compute_checked)(void*, KernelContext*);
  // Later members are read by later versions only: kVersion says how far this goes.
  void* later[8];
};

}  // namespace compressc::ort
