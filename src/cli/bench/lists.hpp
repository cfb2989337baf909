// Lists as llama-bench writes them: 1,4,8   1-8   1-64+8   1-64*2.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace stepless::cli {

/// a,b: each; a-b: every number between; a-b+s: in steps of s; a-b*f: times f each time. In the
/// order given, each number once. Throws Error (usage) naming the flag and what it took.
std::vector<std::int64_t> parse_list(const std::string& text, const char* flag);

/// 4096x4096,5120x13824: pairs n x k.
std::vector<std::pair<std::int64_t, std::int64_t>> parse_shapes(const std::string& text,
                                                                const char* flag);

/// The parts of a text between commas; an empty text has none.
std::vector<std::string> parts_of(const std::string& text);

}  // namespace stepless::cli
