// Compiled with AVX-512 (F, VL, DQ, BW) and FMA; run only where the processor has them.
#define LANES 16
#define REGISTERS 24
#define TABLE kAvx512Kernels
#define TABLE_NAME "avx512"
#include "kernels.inl"
