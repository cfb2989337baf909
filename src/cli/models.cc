// stepless models: what --model can be given by name on this machine.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "base/json.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"
#include "cli/locate.hpp"
#include "cli/log.hpp"
#include "cli/terminal.hpp"

namespace stepless::cli {
namespace fs = std::filesystem;
namespace {

struct ModelsFlags {
  std::string models_dir;
  OutputFlags output;
};

struct Row {
  FoundModel model;
  std::string family, quantization, error;
  std::int64_t bytes = 0;
};

std::int64_t weight_bytes(const fs::path& folder) {
  std::int64_t bytes = 0;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    std::error_code ignored;
    if (at->path().extension() != ".safetensors") continue;
    if (const auto size = fs::file_size(at->path(), ignored); !ignored)
      bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

std::string text_at(const Json& json, const char* key) {
  return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

/// "affine 4-bit g64", "…, mixed" when layers differ, or the type of the floats.
std::string quantization_of(const Json& config) {
  const char* key = config.contains("quantization") ? "quantization" : "quantization_config";
  if (!config.contains(key) || !config[key].is_object()) {
    const std::string type = text_at(config, "dtype");
    return type.empty() ? text_at(config, "torch_dtype") : type;
  }
  const Json& q = config[key];
  const auto number = [&](const char* name) {
    return q.contains(name) && q[name].is_number_integer() ? q[name].dump() : std::string("?");
  };
  if (!q.contains("bits"))  // GPTQ, AWQ and others name their method
    return text_at(q, "quant_method").empty() ? "?" : text_at(q, "quant_method");
  const std::string mode = text_at(q, "mode").empty() ? "affine" : text_at(q, "mode");
  const bool mixed = std::any_of(q.begin(), q.end(), [](const Json& value) {
    return value.is_object() || value.is_boolean();
  });
  return mode + " " + number("bits") + "-bit g" + number("group_size") + (mixed ? ", mixed" : "");
}

/// A checkpoint that cannot be read is listed with the reason: it is what --model would find.
Row describe(const FoundModel& model) {
  Row row{model, "", "", "", weight_bytes(model.folder)};
  try {
    const Json config = read_json(model.folder + "/config.json");
    row.family = config.is_object() ? text_at(config, "model_type") : "";
    if (row.family.empty()) {
      row.error = "config.json: no model_type";
      return row;
    }
    row.quantization = quantization_of(config);
  } catch (const Error& error) {
    row.error = error.what();
  }
  return row;
}

OrderedJson to_json(const Row& row) {
  OrderedJson json = {{"name", row.model.id},
                      {"family", row.family},
                      {"bytes", row.bytes},
                      {"quantization", row.quantization},
                      {"folder", row.model.folder}};
  if (!row.error.empty()) json["error"] = row.error;
  return json;
}

std::string folder_size_text(std::int64_t bytes) {
  const double size = static_cast<double>(bytes);
  return bytes >= 1'000'000'000 ? fmt::format("{:.2f} GB", size / 1e9)
                                : fmt::format("{:.1f} MB", size / 1e6);
}

std::size_t width(const std::vector<Row>& rows, std::string (*text)(const Row&),
                  std::size_t least) {
  for (const Row& row : rows) least = std::max(least, text(row).size());
  return least;
}

void print_table(const std::vector<Row>& rows) {
  const auto name = [](const Row& row) { return printable(row.model.id); };
  const auto family = [](const Row& row) { return printable(row.family); };
  const auto format = [](const Row& row) { return printable(row.quantization); };
  const std::size_t a = width(rows, name, 4), b = width(rows, family, 6),
                    c = width(rows, format, 12);
  std::cout << fmt::format("{:<{}}  {:<{}}  {:>9}  {:<{}}  {}\n", "name", a, "family", b, "size",
                           "quantization", c, "where");
  for (const Row& row : rows) {
    std::cout << fmt::format("{:<{}}  {:<{}}  {:>9}  {:<{}}  {}\n", name(row), a, family(row), b,
                             folder_size_text(row.bytes), format(row), c,
                             printable(row.model.folder));
    if (!row.error.empty()) note(row.model.id + ": " + escape_controls(row.error));
  }
}

Exit run(const ModelsFlags& flags) {
  std::vector<Row> rows;
  for (const FoundModel& model : find_models(flags.models_dir)) rows.push_back(describe(model));
  const auto dump = [](const OrderedJson& json, int indent) {
    return json.dump(indent, ' ', false, OrderedJson::error_handler_t::replace);
  };
  if (flags.output.jsonl) {
    for (const Row& row : rows) std::cout << dump(to_json(row), -1) << "\n";
  } else if (flags.output.json) {
    OrderedJson all = OrderedJson::array();
    for (const Row& row : rows) all.push_back(to_json(row));
    std::cout << dump(all, 2) << "\n";
  } else if (flags.output.quiet) {
    for (const Row& row : rows) std::cout << printable(row.model.id) << "\n";
  } else {
    print_table(rows);
  }
  return Exit::done;
}

}  // namespace

Run attach_models(CLI::App& app) {
  auto flags = std::make_shared<ModelsFlags>();
  app.add_option("--models-dir", flags->models_dir, "one more folder to look in")
      ->type_name("DIR")
      ->group("Where");
  add_output_flags(app, flags->output);
  return [flags] { return run(*flags); };
}

}  // namespace stepless::cli
