// stepless convert and dequantize: from a Hugging Face checkpoint to one in MLX's format, and back
// to floats.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <filesystem>
#include <iostream>

#include "base/json.hpp"
#include "base/memory.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"
#include "cli/locate.hpp"
#include "cli/settings.hpp"
#include "cli/terminal.hpp"
#include "stepless/convert.hpp"
#include "stepless/plan.hpp"

namespace stepless::cli {
namespace {

constexpr const char* kWhatGroup = "What to convert";
constexpr const char* kQuantGroup = "Quantization";

struct ConvertFlags {
  ConvertOptions options;
  std::string mode = "affine", models_dir;
  bool trust_remote_code = false;
  OutputFlags output;
};

/// A path is taken as it is, so that a file of another format is refused for what it is; else a
/// name, looked for as every command does.
std::string find_source(const ConvertFlags& flags) {
  std::error_code ignored;
  if (std::filesystem::exists(flags.options.source, ignored)) return flags.options.source;
  return locate_model(flags.options.source, flags.models_dir);
}

OrderedJson report_json(const ConvertOptions& options, const ConvertReport& report,
                        double seconds) {
  return {{"source", options.source},
          {"target", options.target},
          {"family", report.family},
          {"parameters", report.parameters},
          {"source_bytes", report.source_bytes},
          {"bytes", report.bytes},
          {"bits_per_weight", report.bits_per_weight},
          {"tensors", report.tensors},
          {"quantized_matrices", report.quantized_matrices},
          {"float_matrices", report.float_matrices},
          {"formats", report.formats},
          {"files", report.files},
          {"notes", report.notes},
          {"seconds", seconds},
          {"source_mb_per_second", static_cast<double>(report.source_bytes) / 1e6 / seconds},
          {"peak_memory_bytes", peak_resident_bytes()}};
}

void print_report(const ConvertFlags& flags, const ConvertReport& report, double seconds) {
  std::cout << flags.options.target << "\n";
  if (flags.output.quiet) return;
  std::string out = fmt::format(
      "{}, {:.1f} M parameters, {:.3f} bits per weight, {:.3f} GB in {} files\n", report.family,
      static_cast<double>(report.parameters) / 1e6, report.bits_per_weight,
      static_cast<double>(report.bytes) / 1e9, report.files.size());
  for (const std::string& format : report.formats) out += "format: " + format + "\n";
  for (const std::string& note : report.notes) out += "note: " + note + "\n";
  out += fmt::format("Read {:.3f} GB in {:.1f} s, {:.0f} MB/s\n",
                     static_cast<double>(report.source_bytes) / 1e9, seconds,
                     static_cast<double>(report.source_bytes) / 1e6 / seconds);
  out += "Peak memory: " + peak_memory_text() + "\n";
  std::cerr << out;
}

ConvertReport convert_or_exit(const ConvertOptions& options) {
  try {
    return convert(options);
  } catch (const Error& error) {
    const ErrorCode code = error.code();
    if (code == ErrorCode::cancelled)
      throw ExitError(pending_signal() == 15 ? Exit::terminated : Exit::interrupted, code,
                      error.what());
    if (code == ErrorCode::exhausted)  // the disk: there is nothing large in memory
      throw ExitError(Exit::failed, code, error.what());
    if (code == ErrorCode::unsupported) throw ExitError(Exit::model, code, error.what());
    throw;
  }
}

Exit run(ConvertFlags& flags) {
  ConvertOptions& options = flags.options;
  if (flags.trust_remote_code) note("--trust-remote-code: a checkpoint's code is never run");
  options.mode = parse_mode(flags.mode);
  if (options.threads == 0) options.threads = usable_cores();
  // Not CLI11's required(): the environment and the config file are read after the first parse.
  if (options.source.empty()) usage_error("--hf-path: none given; a folder, a name, or demo");
  options.source = find_source(flags);
  Progress bar(options.dequantize ? "dequantize" : "convert", "MB", flags.output);
  options.progress = [&](std::int64_t done, std::int64_t total) {
    bar.update(done / 1'000'000, std::max<std::int64_t>(total / 1'000'000, 1));
  };
  options.cancelled = [] { return pending_signal() != 0; };
  install_signal_handlers();
  const auto start = std::chrono::steady_clock::now();
  const ConvertReport report = convert_or_exit(options);
  const double seconds = std::max(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 1e-9);
  bar.finish();
  log_line(LogDepth::info, fmt::format("converted {:.3f} GB to {:.3f} GB in {:.3f}s",
                                       static_cast<double>(report.source_bytes) / 1e9,
                                       static_cast<double>(report.bytes) / 1e9, seconds));
  for (const std::string& one : report.notes) log_told(LogDepth::warn, one);
  if (const auto indent = json_indent(flags.output))
    std::cout << report_json(options, report, seconds)
                     .dump(*indent, ' ', false, OrderedJson::error_handler_t::replace)
              << "\n";
  else
    print_report(flags, report, seconds);
  return Exit::done;
}

void add_common(CLI::App& app, ConvertFlags& flags) {
  ConvertOptions& options = flags.options;
  app.add_option("--hf-path,--model", options.source,
                 "a folder with config.json and safetensors, or a name in the Hugging Face cache")
      ->group(kWhatGroup);
  app.add_option("--mlx-path", options.target, "the folder to make")
      ->default_val("mlx_model")
      ->group(kWhatGroup);
  app.add_option("--models-dir", flags.models_dir, "look for names in this folder first")
      ->group(kWhatGroup);
  app.add_flag("--force", options.force, "replace a model folder that is there")->group(kWhatGroup);
  app.add_option("--dtype", options.dtype,
                 "what floats become; default: config.json's torch_dtype, else their own")
      ->check(CLI::IsMember({"float16", "bfloat16", "float32"}))
      ->group(kWhatGroup);
  app.add_flag("--trust-remote-code", flags.trust_remote_code,
               "no-op: a checkpoint's code is never run")
      ->group(kWhatGroup);
  app.add_option("-t,--threads", options.threads, "threads; 0: the physical cores allowed")
      ->check(CLI::Range(0, 1024))
      ->default_val(0)
      ->group(kWhatGroup);
  refuse(app, "--upload-repo", "nothing is uploaded; hf upload does it");
  refuse(app, "--revision", "nothing is downloaded; name a snapshot's folder");
  refuse(app, "--adapter-path", "adapters are not read; fuse them first with mlx_lm.fuse");
}

}  // namespace

Run attach_convert(CLI::App& app) {
  auto flags = std::make_shared<ConvertFlags>();
  ConvertOptions& options = flags->options;
  add_common(app, *flags);
  app.add_flag("-q,--quantize", options.quantize, "quantize as mlx-lm does")->group(kQuantGroup);
  app.add_option("--q-bits", options.bits, "bits per weight; default 4, mxfp8: 8")
      ->group(kQuantGroup);
  app.add_option("--q-group-size", options.group_size,
                 "weights per scale; default 64, mxfp4 and mxfp8: 32, nvfp4: 16")
      ->group(kQuantGroup);
  app.add_option("--q-mode", flags->mode, "affine, mxfp4, mxfp8 or nvfp4")
      ->check(CLI::IsMember({"affine", "mxfp4", "mxfp8", "nvfp4"}))
      ->capture_default_str()
      ->group(kQuantGroup);
  app.add_option("--quant-predicate", options.recipe,
                 "two widths by layer, instead of --q-bits: mixed_2_6, mixed_3_4, mixed_3_6, "
                 "mixed_4_6")
      ->check(CLI::IsMember({"mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"}))
      ->group(kQuantGroup);
  app.add_flag("-d,--dequantize", options.dequantize, "packed matrices become floats")
      ->group(kQuantGroup);
  add_output_flags(app, flags->output, "--quiet");
  return [flags, &app] {
    if (!flags->options.recipe.empty())
      refuse_typed(app, {"--q-bits"}, "--quant-predicate gives the widths; give one of them");
    return run(*flags);
  };
}

Run attach_dequantize(CLI::App& app) {
  auto flags = std::make_shared<ConvertFlags>();
  flags->options.dequantize = true;
  add_common(app, *flags);
  add_output_flags(app, flags->output);
  return [flags] { return run(*flags); };
}

}  // namespace stepless::cli
