#include "dispatch.h"

namespace compressc {

std::vector<const KernelTable*> usable_kernels() {
  std::vector<const KernelTable*> tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_fma = __builtin_cpu_supports("fma");
  if (has_fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    tables.push_back(&kAvx512Kernels);
  if (has_fma && __builtin_cpu_supports("avx2")) tables.push_back(&kAvx2Kernels);
#endif
  tables.push_back(&kGenericKernels);
  return tables;
}

const KernelTable* find_kernels(const std::string& name) {
  for (const KernelTable* table : usable_kernels())
    if (name.empty() || name == table->name) return table;
  return nullptr;
}

}  // namespace compressc
