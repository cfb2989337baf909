// Which instruction sets the machine under the tests has, asked of the compiler's own probe.
#pragma once
#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels/kernel.hpp"
#include "tests/support/device.hpp"

namespace stepless::test {

inline bool runs_here(Isa isa) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
#else
  const bool avx2 = false, avx512 = false;
#endif
  switch (isa) {
    case Isa::cpu:
      return true;
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx512;
#if defined(__x86_64__)
    case Isa::avxvnni:
      return avx2 && __builtin_cpu_supports("avxvnni");
    case Isa::avx512vnni:
      return avx512 && __builtin_cpu_supports("avx512vnni");
    case Isa::avx512bf16:
      return avx512 && __builtin_cpu_supports("avx512bf16");
    case Isa::avx512vbmi:
      return runs_here(Isa::avx512vnni) && __builtin_cpu_supports("avx512vbmi") &&
             __builtin_cpu_supports("avx512vbmi2");
    case Isa::amx:  // which Linux gives to who asks: dispatch/probe.cc
      return avx512 && __builtin_cpu_supports("amx-int8") &&
             ::syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    case Isa::avxvnni:
    case Isa::avx512vnni:
    case Isa::avx512bf16:
    case Isa::avx512vbmi:
    case Isa::amx:
      return false;
#endif
#if defined(__aarch64__)
    case Isa::neon:
      return true;
    case Isa::neondot:
      return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    case Isa::neonbf16:
      return runs_here(Isa::neondot) && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0 &&
             (getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0;
#else
    case Isa::neon:
    case Isa::neondot:
    case Isa::neonbf16:
      return false;
#endif
    case Isa::cuda:
    case Isa::sm80:
    case Isa::sm90:
      return device_runs(isa);
  }
  return false;
}

}  // namespace stepless::test
