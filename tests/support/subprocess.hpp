// Runs a program as a user would: arguments, environment, standard input; exit code and both
// outputs.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace stepless::test {

struct Finished {
  int exit = -1;  // 128 + signal when a signal ended it
  std::string out, err;
};

struct Launch {
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;  // added to a bare one (PATH and HOME only)
  std::string input;
  int interrupt_after_bytes = 0;       // > 0: SIGINT once stdout has this many bytes
  std::function<void()> instead = {};  // of SIGINT: done once, at that moment
};

Finished run_program(const std::string& program, const Launch& launch);

}  // namespace stepless::test
