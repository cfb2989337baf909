#include "model/convert_write.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "format/dequantize.hpp"
#include "format/dtype.hpp"
#include "format/quantize.hpp"

namespace stepless {
namespace {

// Bytes of source per thread and piece: large enough that threads rarely meet, small enough for
// any machine.
constexpr std::int64_t kPieceBytes = std::int64_t{4} << 20;
constexpr std::int64_t kPartsPerThread = 4;  // what a busy CPU leaves, others take

class Converter {
 public:
  Converter(const ConvertSource& source, const ConvertOptions& options, ShardWriter& out)
      : source_(source), options_(options), out_(out), team_(options.threads) {}

  void run(const ConvertPlan& plan);

 private:
  void copy(const ConvertJob& job);
  void quantize(const ConvertJob& job);
  void dequantize(const ConvertJob& job);

  /// Rows of a piece: at least one, and none beyond the published tensor that `row` is in.
  std::int64_t piece_end(const ImportedBytes& bytes, std::int64_t row, std::int64_t rows,
                         std::int64_t row_bytes) const;
  void read(const ImportedBytes& bytes, std::int64_t begin, std::int64_t count);
  /// Calls f(begin, end) on the team for parts of `rows`.
  template <class F>
  void each_part(std::int64_t rows, F&& f) {
    const std::int64_t parts = std::min<std::int64_t>(rows, kPartsPerThread * team_.size());
    team_.run(parts, [&](std::int64_t index) {
      const Part part = part_of(rows, 1, index, parts);
      f(part.begin, part.end);
    });
  }

  const ConvertSource& source_;
  const ConvertOptions& options_;
  ShardWriter& out_;
  ThreadTeam team_;
  std::int64_t done_ = 0, total_ = 0;
};

std::int64_t rows_of(const ImportedTensor& tensor) {
  return stepless::rows_of({nullptr, tensor.type, tensor.shape});
}

TensorView part_of_rows(const TensorView& rows, std::int64_t begin, std::int64_t end) {
  const std::int64_t k = rows.shape.back();
  return {rows.data + begin * k * size_of(rows.type), rows.type, {end - begin, k}};
}

std::int64_t Converter::piece_end(const ImportedBytes& bytes, std::int64_t row, std::int64_t rows,
                                  std::int64_t row_bytes) const {
  const std::int64_t wanted = std::max<std::int64_t>(kPieceBytes * team_.size() / row_bytes, 1);
  const std::int64_t whole = bytes.end_of_source(row * row_bytes) / row_bytes;
  return std::min({row + wanted, rows, std::max(whole, row + 1)});
}

/// Bytes [begin, begin + count) have been used.
void Converter::read(const ImportedBytes& bytes, std::int64_t begin, std::int64_t count) {
  bytes.drop(begin, count);
  source_.published.check();  // a file cut meanwhile gave zeros
  done_ += count;
  if (options_.progress) options_.progress(done_, total_);
  if (options_.cancelled && options_.cancelled())
    fail(ErrorCode::cancelled, "convert: interrupted; nothing was written");
}

/// Bytes as they are, floats checked, or floats of another type.
void Converter::copy(const ConvertJob& job) {
  const ImportedTensor& tensor = source_.tensor(job.name);
  const ImportedBytes bytes(tensor, source_.published);
  const std::int64_t k = tensor.shape.empty() ? 1 : tensor.shape.back();
  const std::int64_t row_bytes = k * size_of(tensor.type);
  const std::int64_t rows = row_bytes == 0 ? 0 : bytes.size() / row_bytes;
  std::vector<std::byte> room, cast;
  for (std::int64_t row = 0, end = 0; row < rows; row = end) {
    end = piece_end(bytes, row, rows, row_bytes);
    const std::int64_t begin = row * row_bytes, count = (end - row) * row_bytes;
    const std::int64_t first = row - bytes.start_of_source(begin) / row_bytes;
    const TensorView piece{bytes.at(begin, count, room), tensor.type, {end - row, k}};
    const void* result = piece.data;
    if (job.codes) {
      const bool scales = tensor.type == DType::u8;
      const TensorView none{nullptr, DType::u8, {0}};
      check_codes({job.spec, scales ? none : piece, scales ? piece : none, {}, {}}, job.name);
    }
    if (is_float(tensor.type)) {
      cast.resize(static_cast<std::size_t>((end - row) * k * size_of(job.type)));
      each_part(end - row, [&](std::int64_t a, std::int64_t b) {
        const RowsName name{bytes.source_name(begin), first + a};
        if (job.type == tensor.type) return check_rows(part_of_rows(piece, a, b), name);
        cast_rows(part_of_rows(piece, a, b), job.type, cast.data() + a * k * size_of(job.type),
                  name);
      });
      if (job.type != tensor.type) result = cast.data();
    }
    out_.append(result, (end - row) * k * size_of(job.type));
    read(bytes, begin, count);
  }
}

void Converter::quantize(const ConvertJob& job) {
  const ImportedTensor& tensor = source_.tensor(job.name + ".weight");
  const ImportedBytes bytes(tensor, source_.published);
  const std::int64_t k = tensor.shape.back(), rows = rows_of(tensor);
  const std::int64_t row_bytes = k * size_of(tensor.type);
  std::vector<std::byte> room, cast, scales, biases;
  QuantizedTensors codes;
  std::int64_t capacity = 0;
  for (std::int64_t row = 0, end = 0; row < rows; row = end) {
    end = piece_end(bytes, row, rows, row_bytes);
    const std::int64_t begin = row * row_bytes, count = (end - row) * row_bytes;
    const std::int64_t first = row - bytes.start_of_source(begin) / row_bytes;
    TensorView piece{bytes.at(begin, count, room), tensor.type, {end - row, k}};
    const TensorView given = piece;
    if (job.type != tensor.type) {
      cast.resize(static_cast<std::size_t>((end - row) * k * size_of(job.type)));
      piece = {cast.data(), job.type, {end - row, k}};
    }
    if (end - row > capacity) {
      capacity = end - row;
      codes = make_quantized(piece, job.spec);
    }
    each_part(end - row, [&](std::int64_t a, std::int64_t b) {
      const RowsName name{bytes.source_name(begin), first + a};
      if (job.type != tensor.type)
        cast_rows(part_of_rows(given, a, b), job.type, cast.data() + a * k * size_of(job.type),
                  name);
      try {
        quantize_rows(piece, a, b, codes, name.tensor, first);
      } catch (const Error& error) {
        throw Error(ErrorCode::corrupt, error.what());  // here the numbers are a file's
      }
    });
    const std::int64_t groups = (end - row) * groups_of(job.spec, k) * size_of(codes.scales.type);
    out_.append(codes.packed.data.data(), (end - row) * packed_row_bytes(job.spec, k));
    scales.insert(scales.end(), codes.scales.data.begin(), codes.scales.data.begin() + groups);
    if (codes.biases)
      biases.insert(biases.end(), codes.biases->data.begin(), codes.biases->data.begin() + groups);
    read(bytes, begin, count);
  }
  out_.append(scales.data(), static_cast<std::int64_t>(scales.size()));
  if (!biases.empty()) out_.append(biases.data(), static_cast<std::int64_t>(biases.size()));
}

/// One array of a packed matrix, read in step with the others.
struct PackedPart {
  ImportedBytes bytes;
  const ImportedTensor& tensor;
  std::vector<std::byte> room;

  PackedPart(const ImportedTensor& of, const TensorMap& published)
      : bytes(of, published), tensor(of) {}
  std::int64_t row_bytes() const { return tensor.shape.back() * size_of(tensor.type); }
  TensorView rows(std::int64_t begin, std::int64_t end) {
    return {bytes.at(begin * row_bytes(), (end - begin) * row_bytes(), room),
            tensor.type,
            {end - begin, tensor.shape.back()}};
  }
};

void Converter::dequantize(const ConvertJob& job) {
  const auto part = [&](const char* name) {
    return source_.has(job.name + name)
               ? std::make_unique<PackedPart>(source_.tensor(job.name + name), source_.published)
               : nullptr;
  };
  const auto packed = part(".weight"), scales = part(".scales"), biases = part(".biases"),
             global = part(".global_scale");
  const std::int64_t rows = rows_of(packed->tensor), n = packed->tensor.shape.rbegin()[1];
  const std::int64_t k = packed->tensor.shape.back() * 32 / job.spec.bits;
  const bool scale_each = global && global->bytes.size() > 4;  // one tensor scale per expert
  std::vector<std::byte> floats;
  for (std::int64_t row = 0, end = 0; row < rows; row = end) {
    end = piece_end(packed->bytes, row, rows, packed->row_bytes());
    if (scale_each) end = std::min(end, (row / n + 1) * n);
    QuantizedView view{job.spec, packed->rows(row, end), scales->rows(row, end), {}, {}};
    if (biases) view.biases = biases->rows(row, end);
    if (global)
      view.tensor_scale = {
          global->bytes.at(scale_each ? row / n * 4 : 0, 4, global->room), DType::f32, {1}};
    check_codes(view, job.name);
    floats.resize(static_cast<std::size_t>((end - row) * k * size_of(job.type)));
    const TensorView made{floats.data(), job.type, {end - row, k}};
    const std::string name = job.name + ", dequantized";
    each_part(end - row, [&](std::int64_t a, std::int64_t b) {
      dequantize_rows(view, a, b, job.type, floats.data() + a * k * size_of(job.type));
      check_rows(part_of_rows(made, a, b), {name, row + a});
    });
    out_.append(floats.data(), static_cast<std::int64_t>(floats.size()));
    for (const PackedPart* each : {packed.get(), scales.get(), biases.get()})
      if (each != nullptr)
        read(each->bytes, row * each->row_bytes(), (end - row) * each->row_bytes());
  }
}

void Converter::run(const ConvertPlan& plan) {
  total_ = plan.report.source_bytes;
  for (const auto& file : source_.published.files()) file->file().advise_sequential();
  for (const ConvertJob& job : plan.jobs) switch (job.action) {
      case ConvertAction::copy:
        copy(job);
        break;
      case ConvertAction::quantize:
        quantize(job);
        break;
      case ConvertAction::dequantize:
        dequantize(job);
        break;
    }
}

}  // namespace

void run_convert(const ConvertSource& source, const ConvertPlan& plan,
                 const ConvertOptions& options, ShardWriter& out) {
  Converter(source, options, out).run(plan);
}

}  // namespace stepless
