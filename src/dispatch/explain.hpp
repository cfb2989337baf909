// A plan in words: the problem, what it moves, its floor, and why each kernel was taken or not.
// Prints the Plan it is given, never a choice of its own. Layout: conventions.md, section 4.
#pragma once
#include <string>

#include "base/json.hpp"
#include "dispatch/select.hpp"

namespace stepless {

/// "qmm affine b4 g64 bf16": what is computed in which formats, without sizes. Routes and messages
/// begin with it.
std::string format_text(const Problem& problem);
/// format_text with its sizes: "qmm affine b4 g64 bf16  m=4 n=13824 k=5120".
std::string problem_text(const Problem& problem);

/// The block of `stepless explain`, lines ending in '\n'. `measured_us`: samples of the plan's
/// kernel on cold weights; none: not measured.
std::string explain_text(const Problem& problem, const Machine& machine, const Plan& plan,
                         const std::vector<double>& measured_us = {});
/// The same as an object: problem, machine, bytes, order, floor, candidates; times in us,
/// `measured_us` null when there is none.
OrderedJson explain_json(const Problem& problem, const Machine& machine, const Plan& plan,
                         const std::vector<double>& measured_us = {});

}  // namespace stepless
