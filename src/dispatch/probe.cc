// What this CPU and its operating system allow. AVX needs the system to save its registers: XCR0
// says which it does.
#include <algorithm>
#include <string>
#include <vector>

#include "dispatch/machine.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace stepless {

#if defined(__x86_64__)
namespace {

struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf cpuid(unsigned leaf, unsigned sub = 0) {
  Leaf r;
  if (__get_cpuid_count(leaf, sub, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

constexpr bool bit(unsigned word, int at) { return ((word >> at) & 1u) != 0; }

/// XCR0; 0 when the system does not let programs ask.
unsigned saved_state() {
  if (!bit(cpuid(1).ecx, 27)) return 0;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

/// Tiles make a thread's state 8 KB larger, so that Linux gives them to a process that asks for
/// them, before its first thread uses one: arch/x86/include/uapi/asm/prctl.h.
bool gives_tiles() {
#if defined(__linux__)
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
  return ::syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

std::vector<Isa> probe_isas() {
  std::vector<Isa> isas = {Isa::cpu};
  const unsigned xcr0 = saved_state();
  const bool saves_ymm = (xcr0 & 0x6u) == 0x6u;
  const bool saves_zmm = (xcr0 & 0xe6u) == 0xe6u;
  const Leaf one = cpuid(1), seven = cpuid(7, 0), seven_1 = cpuid(7, 1);
  // The folder's flags are -mavx2 -mfma -mf16c: all three or none.
  const bool avx2 =
      saves_ymm && bit(one.ecx, 28) && bit(seven.ebx, 5) && bit(one.ecx, 12) && bit(one.ecx, 29);
  if (!avx2) return isas;
  isas.push_back(Isa::avx2);
  if (bit(seven_1.eax, 4)) isas.push_back(Isa::avxvnni);
  // F, DQ, BW and VL together, as the folder's flags.
  const bool avx512 = saves_zmm && bit(seven.ebx, 16) && bit(seven.ebx, 17) && bit(seven.ebx, 30) &&
                      bit(seven.ebx, 31);
  if (!avx512) return isas;
  isas.push_back(Isa::avx512);
  if (bit(seven.ecx, 11)) isas.push_back(Isa::avx512vnni);
  if (bit(seven_1.eax, 5)) isas.push_back(Isa::avx512bf16);
  // VBMI, VBMI2 and VNNI together, as the folder's flags.
  if (bit(seven.ecx, 1) && bit(seven.ecx, 6) && bit(seven.ecx, 11)) isas.push_back(Isa::avx512vbmi);
  // Tiles, their bytes, and the VNNI that the folder's flags have as well.
  const bool saves_tiles = (xcr0 & 0x60000u) == 0x60000u;
  if (saves_tiles && bit(seven.edx, 24) && bit(seven.edx, 25) && bit(seven.ecx, 11) &&
      gives_tiles())
    isas.push_back(Isa::amx);
  return isas;
}

std::string probe_cpu_vendor() {
  const Leaf r = cpuid(0);
  std::string vendor;
  for (const unsigned word : {r.ebx, r.edx, r.ecx})
    for (int byte = 0; byte < 4; ++byte) vendor += static_cast<char>((word >> (8 * byte)) & 0xffu);
  return vendor;
}

std::string probe_cpu_name() {
  if (cpuid(0x80000000u).eax < 0x80000004u) return "";
  std::string name;
  for (const unsigned leaf : {0x80000002u, 0x80000003u, 0x80000004u}) {
    const Leaf r = cpuid(leaf);
    for (const unsigned word : {r.eax, r.ebx, r.ecx, r.edx})
      for (int byte = 0; byte < 4; ++byte) name += static_cast<char>((word >> (8 * byte)) & 0xffu);
  }
  name.erase(std::find(name.begin(), name.end(), '\0'), name.end());
  const auto first = name.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return name.substr(first, name.find_last_not_of(' ') - first + 1);
}

#elif defined(__aarch64__)

std::vector<Isa> probe_isas() {
  // Bits of the Linux kernel's AT_HWCAP words; named here because old headers lack some.
  constexpr unsigned long kAsimd = 1ul << 1, kAsimdDp = 1ul << 20;
  constexpr unsigned long kI8mm = 1ul << 13, kBf16 = 1ul << 14;
  std::vector<Isa> isas = {Isa::cpu};
  const unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  if ((caps & kAsimd) == 0) return isas;
  isas.push_back(Isa::neon);
  if ((caps & kAsimdDp) == 0) return isas;
  isas.push_back(Isa::neondot);
  // The folder's flags are dotprod, i8mm and bf16: all three or none.
  constexpr unsigned long kBoth = kI8mm | kBf16;
  if ((caps2 & kBoth) == kBoth) isas.push_back(Isa::neonbf16);
  return isas;
}

std::string probe_cpu_vendor() { return ""; }
std::string probe_cpu_name() { return ""; }

#else

std::vector<Isa> probe_isas() { return {Isa::cpu}; }
std::string probe_cpu_vendor() { return ""; }
std::string probe_cpu_name() { return ""; }

#endif

}  // namespace stepless
