// The envelope of every bench result: which machine, which build, which command, when.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>

#include <ctime>
#include <fstream>
#include <iterator>

#include "base/fingerprint.hpp"
#include "cli/bench/result.hpp"
#include "cli/version.hpp"

namespace stepless::cli {
namespace {

constexpr int kSchema = 1;

/// "cpus 0,1 of 2 cores": which CPUs this process may use. A hypervisor may move them all the same.
std::string cpus_text() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  return fmt::format("cpus {} of {} cores, not pinned", fmt::join(cpus, ","), usable_cores());
}

std::int64_t memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  std::int64_t kilobytes = 0;
  while (file >> word)
    if (word == "MemTotal:" && file >> kilobytes) return kilobytes * 1024;
  return 0;
}

OrderedJson figure(const std::vector<double>& samples) {
  if (samples.empty()) return nullptr;
  const Summary s = summary_of(samples);
  return {{"median", s.median}, {"min", s.min}, {"max", s.max}};
}

}  // namespace

OrderedJson machine_object(int threads) {
  OrderedJson caches = OrderedJson::object();
  for (const auto& [level, bytes] : cache_sizes()) caches[level] = bytes;
  OrderedJson machine = {{"digest", ""},       {"cpu", cpu_name()},        {"caches", caches},
                         {"threads", threads}, {"placement", cpus_text()}, {"gpu", nullptr},
                         {"driver", nullptr},  {"memory", memory_bytes()}};
  Fingerprint print;
  print.add(machine.dump());
  machine["digest"] = print.text();
  return machine;
}

std::vector<std::string> command_words() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  if (!words.empty()) words[0] = "stepless";
  return words;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  return fmt::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

OrderedJson ceilings_json(const Ceilings& c) {
  OrderedJson json = {{"threads", c.threads},
                      {"read_gb_s", figure(c.read_gb_s)},
                      {"read_all_gb_s", figure(c.read_all_gb_s)},
                      {"f32_gflop_s", figure(c.f32_gflop_s)},
                      {"bf16_gflop_s", figure(c.bf16_gflop_s)},
                      {"int16_gop_s", figure(c.int16_gop_s)},
                      {"int8_gop_s", figure(c.int8_gop_s)},
                      {"region_us", figure(c.region_us)}};
  OrderedJson& loops = json["loops"];
  for (const auto& [kind, isa] : {std::pair{"f32", c.f32_isa},
                                  {"bf16", c.bf16_isa},
                                  {"int16", c.int16_isa},
                                  {"int8", c.int8_isa}})
    loops[kind] = isa.empty() ? OrderedJson(nullptr) : OrderedJson(isa);
  return json;
}

std::string ceilings_line(const OrderedJson& c) {
  const auto text = [&](const char* field, const char* name, const char* unit, int decimals) {
    if (c.at(field).is_null()) return std::string();
    return fmt::format(", {} {:.{}f} {}", name, c.at(field).at("median").get<double>(), decimals,
                       unit);
  };
  const auto threads = c.at("threads").get<int>();
  std::string line =
      "ceilings: one thread" + text("read_gb_s", "read", "GB/s", 1).substr(1) +
      text("f32_gflop_s", "f32", "GFLOP/s", 0) + text("bf16_gflop_s", "bf16", "GFLOP/s", 0) +
      text("int16_gop_s", "int16", "GOP/s", 0) + text("int8_gop_s", "int8", "GOP/s", 0);
  if (threads > 1)
    line += fmt::format("; {} threads", threads) +
            text("read_all_gb_s", "read", "GB/s", 1).substr(1) +
            text("region_us", "a region", "us", 2);
  return line;
}

OrderedJson envelope_of(const BenchResult& result) {
  OrderedJson json = {{"schema", kSchema}, {"bench", result.bench}};
  const int threads = result.ceilings.is_null() ? 1 : result.ceilings.at("threads").get<int>();
  json["machine"] = machine_object(threads);
  if (!result.gpu.empty()) json["machine"]["gpu"] = result.gpu;
  json["build"] = version_json();
  json["command"] = fmt::format("{}", fmt::join(command_words(), " "));
  json["date"] = today();
  json["model"] = result.model.empty() ? OrderedJson(nullptr) : OrderedJson(result.model);
  json["method"] = result.method;
  json["ceilings"] = result.ceilings;
  json["key"] = result.key;
  json["noisy_rows"] = noisy_rows(result);
  json["trusted"] = noisy_rows(result) <= kMostNoisyRows;
  json["report"] = result.report;
  json["rows"] = result.rows;
  return json;
}

}  // namespace stepless::cli
