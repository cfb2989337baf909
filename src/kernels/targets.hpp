// Which targets this build has: STEPLESS_BUILT_<isa>(entry) is its argument, or null. The only
// place that asks.
#pragma once

#ifdef STEPLESS_HAS_any
#define STEPLESS_BUILT_cpu(entry) entry
#else
#define STEPLESS_BUILT_cpu(entry) nullptr
#endif
#ifdef STEPLESS_HAS_avx2
#define STEPLESS_BUILT_avx2(entry) entry
#define STEPLESS_BUILT_avxvnni(entry) entry
#else
#define STEPLESS_BUILT_avx2(entry) nullptr
#define STEPLESS_BUILT_avxvnni(entry) nullptr
#endif
#ifdef STEPLESS_HAS_avx512
#define STEPLESS_BUILT_avx512(entry) entry
#else
#define STEPLESS_BUILT_avx512(entry) nullptr
#endif
#ifdef STEPLESS_HAS_avx512vnni
#define STEPLESS_BUILT_avx512vnni(entry) entry
#else
#define STEPLESS_BUILT_avx512vnni(entry) nullptr
#endif
#ifdef STEPLESS_HAS_avx512bf16
#define STEPLESS_BUILT_avx512bf16(entry) entry
#else
#define STEPLESS_BUILT_avx512bf16(entry) nullptr
#endif
#ifdef STEPLESS_HAS_avx512vbmi
#define STEPLESS_BUILT_avx512vbmi(entry) entry
#else
#define STEPLESS_BUILT_avx512vbmi(entry) nullptr
#endif
#ifdef STEPLESS_HAS_amx
#define STEPLESS_BUILT_amx(entry) entry
#else
#define STEPLESS_BUILT_amx(entry) nullptr
#endif
#ifdef STEPLESS_HAS_neon
#define STEPLESS_BUILT_neon(entry) entry
#else
#define STEPLESS_BUILT_neon(entry) nullptr
#endif
#ifdef STEPLESS_HAS_neondot
#define STEPLESS_BUILT_neondot(entry) entry
#else
#define STEPLESS_BUILT_neondot(entry) nullptr
#endif
#ifdef STEPLESS_HAS_neonbf16
#define STEPLESS_BUILT_neonbf16(entry) entry
#else
#define STEPLESS_BUILT_neonbf16(entry) nullptr
#endif
#ifdef STEPLESS_HAS_cuda_any
#define STEPLESS_BUILT_cuda(entry) entry
#else
#define STEPLESS_BUILT_cuda(entry) nullptr
#endif
#ifdef STEPLESS_HAS_sm80
#define STEPLESS_BUILT_sm80(entry) entry
#else
#define STEPLESS_BUILT_sm80(entry) nullptr
#endif
#ifdef STEPLESS_HAS_sm90
#define STEPLESS_BUILT_sm90(entry) entry
#else
#define STEPLESS_BUILT_sm90(entry) nullptr
#endif

// What the rows of a target export.
#define STEPLESS_ENTRY_cpu CpuEntry
#define STEPLESS_ENTRY_avx2 CpuEntry
#define STEPLESS_ENTRY_avxvnni CpuEntry
#define STEPLESS_ENTRY_avx512 CpuEntry
#define STEPLESS_ENTRY_avx512vnni CpuEntry
#define STEPLESS_ENTRY_avx512bf16 CpuEntry
#define STEPLESS_ENTRY_avx512vbmi CpuEntry
#define STEPLESS_ENTRY_amx CpuEntry
#define STEPLESS_ENTRY_neon CpuEntry
#define STEPLESS_ENTRY_neondot CpuEntry
#define STEPLESS_ENTRY_neonbf16 CpuEntry
#define STEPLESS_ENTRY_cuda CudaEntry
#define STEPLESS_ENTRY_sm80 CudaEntry
#define STEPLESS_ENTRY_sm90 CudaEntry
