// Compiled with AVX2 and FMA; run only where the processor has them.
#define LANES 8
#define REGISTERS 12
#define TABLE kAvx2Kernels
#define TABLE_NAME "avx2"
#include "kernels.inl"
