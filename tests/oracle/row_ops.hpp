// The operations between matrix products, in float64 loops that share nothing with the library.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace stepless::oracle {

/// x / sqrt(mean(x²) + epsilon) * (weight + offset); no weight: without the factor.
std::vector<double> rms_norm(const std::vector<double>& x, const std::vector<double>& weight,
                             double offset, double epsilon);

/// A head turned by position * inv_freq[i]; pairs (i, i + pairs), or (2i, 2i + 1).
std::vector<double> rope(const std::vector<double>& x, std::int64_t position,
                         const std::vector<double>& inv_freq, bool interleaved, double scale);

double silu(double x);
double gelu(double x);
double gelu_tanh(double x);
/// x times the logistic of alpha x.
double swish(double x, double alpha);
/// The value nearest to x in [-limit, limit]; a NaN stays.
double clamped(double x, double limit);

/// One query head against the keys and values of positions 0 .. position.
struct AttentionHead {
  std::vector<double> q;
  std::vector<std::vector<double>> k, v;  // one per position
  double scale = 1, softcap = 0;          // softcap 0: none
  std::int64_t window = 0;                // 0: none
  std::optional<double> sink;
};
std::vector<double> attention(const AttentionHead& head);

}  // namespace stepless::oracle
