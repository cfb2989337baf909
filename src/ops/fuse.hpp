// Joins linear operations that read the same value: q, k, v and gate, up become one operation of
// several parts, so x is prepared once and the team meets one barrier instead of three. Pure;
// values are assigned once, so moving a part up to the first reader of its x is always right.
#pragma once
#include "ops/program.hpp"

namespace stepless {

Program fuse(Program program);

}  // namespace stepless
