#include "tests/support/subprocess.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>

#include "tests/support/paths.hpp"

namespace stepless::test {
namespace {

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    read = ends[0], write = ends[1];
  }
};

[[noreturn]] void become(const std::string& program, const Launch& launch, const Pipe& in,
                         const Pipe& out, const Pipe& err) {
  dup2(in.read, 0), dup2(out.write, 1), dup2(err.write, 2);
  std::vector<std::string> words = {program};
  words.insert(words.end(), launch.arguments.begin(), launch.arguments.end());
  std::vector<std::string> set;
  if (launch.environment.count("PATH") == 0) set.emplace_back("PATH=/usr/bin:/bin");
  if (launch.environment.count("HOME") == 0) set.push_back("HOME=" + scratch_dir("home"));
  for (const auto& [name, value] : launch.environment) set.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (std::string& word : words) argv.push_back(word.data());
  for (std::string& pair : set) envp.push_back(pair.data());
  argv.push_back(nullptr), envp.push_back(nullptr);
  execve(program.c_str(), argv.data(), envp.data());
  _exit(127);
}

}  // namespace

Finished run_program(const std::string& program, const Launch& launch) {
  const Pipe in, out, err;
  scratch_dir("home");
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) become(program, launch, in, out, err);
  close(in.read), close(out.write), close(err.write);
  if (!launch.input.empty() && write(in.write, launch.input.data(), launch.input.size()) < 0)
    perror("write");
  close(in.write);
  Finished done;
  pollfd ends[2] = {{out.read, POLLIN, 0}, {err.read, POLLIN, 0}};
  bool interrupted = false;
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    poll(ends, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (ends[i].fd < 0 || ends[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t got = read(ends[i].fd, buffer, sizeof buffer);
      if (got <= 0) {
        close(ends[i].fd);
        ends[i].fd = -1;
        continue;
      }
      (i == 0 ? done.out : done.err).append(buffer, static_cast<std::size_t>(got));
    }
    if (!interrupted && launch.interrupt_after_bytes > 0 &&
        done.out.size() >= static_cast<std::size_t>(launch.interrupt_after_bytes)) {
      if (launch.instead)
        launch.instead();
      else
        kill(child, SIGINT);
      interrupted = true;
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  done.exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return done;
}

}  // namespace stepless::test
