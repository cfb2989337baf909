// Rows of a table: packed in any mode, width, group size and type, or dense (its scales are null).
// Each value is rounded once to y's type.
#include "kernels/cpu/any/decode.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice rows) {
  const EmbedArgs& args = *static_cast<const EmbedArgs*>(opaque);
  const MatmulArgs& table = args.table;
  const bool packed = table.scales != nullptr;
  const int64_t groups = packed ? table.k / table.group_size : 0;
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t k = 0; k < table.k; k += kDecodeChunk) {
      alignas(64) float values[kDecodeChunk];
      const int64_t count = least(kDecodeChunk, table.k - k);
      if (packed)
        decode_packed(table, groups, args.ids[i], k, count, rounding_for(table.y_type), values);
      else
        decode_dense(table, args.ids[i], k, count, values);
      narrow(values, table.y_type, count, element(table.y, table.y_type, i * table.y_stride + k));
    }
}

STEPLESS_KERNEL(embed_wany_bany_fany_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
