// Predicted time: bytes / bandwidth and work / rate, each by the measured share, together, and
// fixed us. The floor is the larger of both at share 1 with the best exact arithmetic of the
// machine and nothing fixed.
#pragma once
#include <string_view>

#include "dispatch/machine.hpp"
#include "dispatch/problem.hpp"

namespace stepless {

/// What a problem has to move and to compute, whoever does it. Each byte counts once.
struct Traffic {
  double weight_bytes = 0;  // codes, scales, biases; keys and values of attention
  double x_bytes = 0, y_bytes = 0;
  double flop = 0;  // mul and add count as two
  double bytes() const { return weight_bytes + x_bytes + y_bytes; }
};
Traffic traffic_of(const Problem& problem);

/// Bytes per us that all threads read together, and flop per us of the best exact arithmetic for
/// x's type, or of 8-bit x.
double read_rate(const Machine& machine);
double best_rate(const Problem& problem, const Machine& machine,
                 Precision precision = Precision::exact);
/// Flop per us at this kernel's own arithmetic, at a share of 1.
double kernel_rate(const Kernel& kernel, const Problem& problem, const Machine& machine);

struct Share {
  double memory = 0, compute = 0;
  std::string_view source;
};
/// The line of measured.inc that applies to weights, or keys and values, of so many bits; 0: plain.
Share share_of(const Kernel& kernel, int bits, const Machine& machine);

double memory_floor_us(const Problem& problem, const Machine& machine);
double floor_us(const Problem& problem, const Machine& machine,
                Precision precision = Precision::exact);
double cost_us(const Kernel& kernel, const Problem& problem, const Machine& machine);
/// The same of a problem whose reading and computing would take so long at shares of 1.
double cost_us(const Kernel& kernel, int bits, const Machine& machine, double memory_us,
               double compute_us);

/// The pin of prefer.inc for this kernel and m; "" when there is none.
std::string_view pin_of(const Kernel& kernel, const Problem& problem, const Machine& machine);

}  // namespace stepless
