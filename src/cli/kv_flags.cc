// Flags of the KV cache: quantized pages, the rotating cache.
#include <fmt/format.h>

#include "base/error.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"
#include "cli/settings.hpp"

namespace stepless::cli {
namespace {

int bits_of(const std::string& type) { return type == "q8_0" ? 8 : type == "q4_0" ? 4 : 16; }

}  // namespace

void add_kv_flags(CLI::App& app, KvFlags& f) {
  f.app = &app;
  app.add_option("--kv-bits", f.options.bits,
                 "keys and values in 4 or 8 bits; 16: as the activations")
      ->check(CLI::IsMember({4, 8, 16}))
      ->capture_default_str()
      ->group(kMemoryGroup);
  app.add_option(
         "--kv-group-size", f.options.group_size,
         "elements of a head that share a scale: 32, 64, 128; 0: 64, or 32 where it must be")
      ->check(CLI::IsMember({0, 32, 64, 128}))
      ->capture_default_str()
      ->group(kMemoryGroup);
  app.add_option("--quantized-kv-start", f.options.start,
                 "with --kv-bits: earlier positions stay as they are, for good")
      ->check(whole_from("--quantized-kv-start", 0, kMostTokens))
      ->capture_default_str()
      ->group(kMemoryGroup);
  app.add_option("--kv-window", f.options.window,
                 "with --kv-bits: the newest positions stay as they are, by pages of 64")
      ->check(whole_from("--kv-window", 0, kMostTokens))
      ->capture_default_str()
      ->group(kMemoryGroup);
  app.add_option("--ctk", f.ctk,
                 "-ctk: f16, q8_0 or q4_0, as --kv-bits 16, 8, 4; with an equal -ctv")
      ->check(CLI::IsMember({"f16", "q8_0", "q4_0"}))
      ->group(kMemoryGroup);
  app.add_option("--ctv", f.ctv, "-ctv: the same for values")
      ->check(CLI::IsMember({"f16", "q8_0", "q4_0"}))
      ->group(kMemoryGroup);
  app.add_option(
         "--max-kv-size", f.options.max_size,
         "rotating cache: the first 4 positions and the newest, so many in all; 0: every one")
      ->check(whole_from("--max-kv-size", 0, kMostTokens))
      ->capture_default_str()
      ->group(kMemoryGroup);
}

KvOptions kv_options_of(const KvFlags& flags) {
  KvOptions options = flags.options;
  if (!flags.ctk.empty() || !flags.ctv.empty()) {
    const auto shown = [](const std::string& type) { return type.empty() ? "f16" : type.c_str(); };
    if (bits_of(flags.ctk) != bits_of(flags.ctv))
      usage_error(
          fmt::format("-ctk {} and -ctv {}: keys and values are kept alike; give both the same",
                      shown(flags.ctk), shown(flags.ctv)));
    const int bits = bits_of(flags.ctk);
    if (options.bits != 16 && options.bits != bits)
      usage_error(
          fmt::format("--kv-bits {} and -ctk {}: give one of them", options.bits, flags.ctk));
    options.bits = bits;
  }
  if (options.bits == 16 && flags.app != nullptr)
    refuse_typed(*flags.app, {"--kv-group-size", "--quantized-kv-start", "--kv-window"},
                 "says how a quantized cache is kept; add --kv-bits 8 or 4");
  return options;
}

}  // namespace stepless::cli
