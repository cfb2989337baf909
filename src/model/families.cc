#include "model/families.hpp"

#include <string>

#include "base/error.hpp"

namespace stepless {

#define FAMILY(type, build, ...)       \
  void build(Builder&, const Config&); \
  __VA_OPT__(std::vector<Piece> __VA_ARGS__(const Config&, const TensorMap&, std::string_view);)
#include "model/families.inc"
#undef FAMILY

std::span<const Family> families() {
  static constexpr Family kAll[] = {
#define FAMILY(type, build, ...) {#type, build __VA_OPT__(, ) __VA_ARGS__},
#include "model/families.inc"
#undef FAMILY
  };
  return kAll;
}

const Family& find_family(const Config& config) {
  std::string known;
  for (const Family& family : families()) {
    if (family.model_type == config.model_type()) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  fail(ErrorCode::unsupported, "{}: model_type \"{}\" is not there yet; {} are", config.what(),
       config.model_type(), known);
}

}  // namespace stepless
