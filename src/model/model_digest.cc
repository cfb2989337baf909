#include "model/model_digest.hpp"

#include <algorithm>
#include <set>

#include "base/fingerprint.hpp"
#include "format/dtype.hpp"

namespace stepless {

std::string model_digest(const LoadedModel& model) {
  constexpr std::int64_t kSample = 4096;
  Fingerprint print;
  print.add(model.config.json().dump(-1, ' ', false, Json::error_handler_t::replace));
  for (const auto& [name, view] : model.tensors) {
    print.add(name);
    print.add(std::string(safetensors_name(view.type)));
    print.add(view.shape.data(),
              static_cast<std::int64_t>(view.shape.size() * sizeof(view.shape[0])));
    const std::int64_t bytes = bytes_of(view.shape, view.type, name);
    const std::int64_t sample = std::min(bytes, kSample);
    print.add(view.data, sample);
    print.add(view.data + (bytes - sample), sample);
  }
  return print.text();
}

std::string arithmetic_of(const LoadedModel& model) {
  std::set<std::string_view> orders;
  for (const Node& node : model.program->nodes)
    for (const auto& plans : node.plans)
      for (const PlanPtr& plan : plans)
        if (plan->order != Order::none) orders.insert(to_string(plan->order));
  std::string text;
  for (const std::string_view order : orders)
    text += (text.empty() ? "" : "+") + std::string(order);
  return text;
}

}  // namespace stepless
