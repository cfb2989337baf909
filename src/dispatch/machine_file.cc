// Machine profiles as JSON files: `bench --save-machine` writes one, `--machine FILE` reads it.
#include <cmath>

#include "base/error.hpp"
#include "dispatch/machine.hpp"

namespace stepless {
namespace {

/// Fields of one object, each taken once; what is left over is unknown.
class Fields {
 public:
  Fields(Json object, const std::string& file) : object_(std::move(object)), file_(file) {
    if (!object_.is_object()) fail(ErrorCode::corrupt, "{}: expected an object", file_);
  }

  std::string text(const char* name) {
    const Json value = take(name);
    if (!value.is_string() || value.get<std::string>().empty())
      fail(ErrorCode::corrupt, "{}: {}: {}; expected a text", file_, name, value.dump());
    return value.get<std::string>();
  }

  double number(const char* name, double least) {
    const Json value = take(name);
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < least)
      fail(ErrorCode::corrupt, "{}: {}: {}; expected a number of at least {}", file_, name,
           value.dump(), least);
    return value.get<double>();
  }

  int count(const char* name) {
    const Json value = take(name);
    if (!value.is_number_integer() || value < 1 || value > 1 << 20)
      fail(ErrorCode::corrupt, "{}: {}: {}; expected an integer from 1 on", file_, name,
           value.dump());
    return value.get<int>();
  }

  std::vector<Isa> isas(const char* name) {
    const Json value = take(name);
    std::vector<Isa> isas;
    if (value.is_array())
      for (const Json& isa : value) isas.push_back(one_isa(isa));
    if (isas.empty() || (isas.front() != Isa::cpu && isas.front() != Isa::cuda))
      fail(ErrorCode::corrupt, "{}: {}: {}; expected a list that begins with \"cpu\" or \"cuda\"",
           file_, name, value.dump());
    return isas;
  }

  void expect_no_more() const {
    if (!object_.empty())
      fail(ErrorCode::corrupt, "{}: {}: unknown field", file_, object_.begin().key());
  }

 private:
  Json take(const char* name) {
    const auto at = object_.find(name);
    if (at == object_.end()) fail(ErrorCode::corrupt, "{}: {}: missing", file_, name);
    Json value = std::move(*at);
    object_.erase(at);
    return value;
  }

  Isa one_isa(const Json& token) const {
    try {
      return parse_isa(token.is_string() ? token.get<std::string>() : token.dump());
    } catch (const Error& error) {
      fail(ErrorCode::corrupt, "{}: isas: {}", file_, error.what());
    }
  }

  Json object_;
  const std::string& file_;
};

}  // namespace

Machine open_machine(const std::string& name_or_file) {
  if (name_or_file.find('/') == std::string::npos && !name_or_file.ends_with(".json"))
    return find_machine(name_or_file);
  Fields fields(read_json(name_or_file), name_or_file);
  constexpr double kLeast = 1e-6;  // rates that are divided by
  Machine machine;
  machine.name = fields.text("name");
  machine.profile = fields.text("profile");
  machine.isas = fields.isas("isas");
  machine.threads = fields.count("threads");
  machine.read_gbps = fields.number("read_gbps", kLeast);
  machine.read_gbps_all = fields.number("read_gbps_all", kLeast);
  machine.f32_gflops = fields.number("f32_gflops", kLeast);
  machine.bf16_gflops = fields.number("bf16_gflops", 0);
  machine.int16_gops = fields.number("int16_gops", 0);
  machine.int8_gops = fields.number("int8_gops", 0);
  machine.fixed_us = fields.number("fixed_us", 0);
  machine.source = fields.text("source");
  fields.expect_no_more();
  return machine;
}

OrderedJson machine_json(const Machine& machine) {
  OrderedJson isas = OrderedJson::array();
  for (const Isa isa : machine.isas) isas.push_back(to_string(isa));
  return {{"name", machine.name},
          {"profile", machine.profile},
          {"isas", isas},
          {"threads", machine.threads},
          {"read_gbps", machine.read_gbps},
          {"read_gbps_all", machine.read_gbps_all},
          {"f32_gflops", machine.f32_gflops},
          {"bf16_gflops", machine.bf16_gflops},
          {"int16_gops", machine.int16_gops},
          {"int8_gops", machine.int8_gops},
          {"fixed_us", machine.fixed_us},
          {"source", machine.source}};
}

}  // namespace stepless
