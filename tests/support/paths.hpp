// Where tests find fixtures: those that travel with the repository, and the shared folder beside
// it, if there is one.
#pragma once
#include <optional>
#include <string>

namespace stepless::test {

/// The folder with golden/, models/ and the specification, next to the checkout (or
/// $STEPLESS_SHARED); nothing when absent.
std::optional<std::string> shared_dir();
/// tests/golden in the repository.
std::string golden_dir();
/// models/ in the repository: the demo checkpoints.
std::string models_dir();
/// A fresh folder under the system's temporary folder, removed when the process ends normally.
std::string scratch_dir(const std::string& name);

}  // namespace stepless::test
