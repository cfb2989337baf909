// Which CPU rows this machine can run.
#pragma once
#include "kernels/kernel.hpp"

namespace stepless::bench {

/// Of x86-64; the benches know no others' ceilings.
inline bool machine_has(Isa isa) {
  switch (isa) {
    case Isa::cpu:
      return true;
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::avx512:
      return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    case Isa::avx512vnni:
      return __builtin_cpu_supports("avx512vnni") != 0;
    case Isa::avx512bf16:
      return __builtin_cpu_supports("avx512bf16") != 0;
    case Isa::avxvnni:
      return __builtin_cpu_supports("avxvnni") != 0;
    case Isa::avx512vbmi:
      return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
             machine_has(Isa::avx512vnni);
    case Isa::amx:
    case Isa::neon:
    case Isa::neondot:
    case Isa::neonbf16:
    case Isa::cuda:
    case Isa::sm80:
    case Isa::sm90:
      return false;
  }
  return false;
}

}  // namespace stepless::bench
