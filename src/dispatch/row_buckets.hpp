// For which numbers of rows plans are made: every m up to 16, then steps that grow. A step of m
// rows runs the plan of bucket_of(m), so a Program holds a few dozen plans per weight instead of
// one per m.
#pragma once
#include <cassert>
#include <cstdint>

namespace stepless {

/// The least bucket that holds m rows: 1..16, 24, 32, 48, 64, 128, then doubling. m >= 1.
constexpr std::int64_t bucket_of(std::int64_t m) {
  assert(m >= 1);
  if (m <= 16) return m;
  for (const std::int64_t bucket : {24, 32, 48})
    if (m <= bucket) return bucket;
  // Beyond 2^62 rows no array fits an address space: the bucket is m itself.
  std::int64_t bucket = 64;
  while (bucket < m) {
    if (bucket > (std::int64_t{1} << 61)) return m;
    bucket *= 2;
  }
  return bucket;
}

}  // namespace stepless
