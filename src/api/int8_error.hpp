// What --fast-int8 costs a model: the error of its products, measured when it is opened.
#pragma once
#include <string>

#include "dispatch/select.hpp"
#include "model/model.hpp"

namespace stepless {

/// One line: the largest relative error (Frobenius) of one product per kind of weight against the
/// exact kernels, x random from a fixed stream; and the weights that stay exact. Runs on this
/// computer, some milliseconds.
std::string measure_int8(const LoadedModel& model, const Overrides& overrides);

}  // namespace stepless
