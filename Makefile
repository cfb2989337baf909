# The commands of README.md, over CMake's presets. `make help` lists them.
#
# Variables: PREFIX (/usr/local), DESTDIR, CUDA=auto|on|off, JOBS (cores, at most one per 1.5 GB of memory), BUILD (build),
# FUZZ_SECONDS (60, for each target).
PREFIX ?= /usr/local
CUDA ?= auto
BUILD ?= build
FUZZ_SECONDS ?= 60
JOBS ?= $(shell awk -v cores=$$(nproc 2>/dev/null || echo 1) '/MemAvailable/ { fit = int($$2 / 1500000); \
          print fit < 1 ? 1 : fit < cores ? fit : cores }' /proc/meminfo)

.DEFAULT_GOAL := build
.PHONY: build demo test asan tsan aarch64 check tidy format docs install clean deps help cuda bench fuzz oracle deb wheel image
.NOTPARALLEL:
export PYTHONDONTWRITEBYTECODE := 1
STARTED := $(shell date +%s)

define compile # preset
cmake --preset $(1) -B $(BUILD)/$(1) -DSTEPLESS_CUDA=$(CUDA) >$(BUILD)/$(1).log 2>&1 || { cat $(BUILD)/$(1).log; exit 1; }
@grep -o 'CUDA kernels: .*' $(BUILD)/$(1).log
cmake --build $(BUILD)/$(1) -j $(JOBS)
endef

define build_and_test # preset, flags of tools/run_tests
@mkdir -p $(BUILD)
$(call compile,$(1))
@tools/run_tests --build $(BUILD)/$(1) --jobs $(JOBS) $(2)
endef

build: cuda deps  ## the release build: build/release/bin/stepless
	@mkdir -p $(BUILD)
	$(call compile,release)

demo: build  ## builds, then shows the demo model at work; out/demo/report.html
	@tools/demo --binary $(BUILD)/release/bin/stepless --out out/demo --started $(STARTED)

test: cuda deps  ## builds, then runs every test that can run here
	$(call build_and_test,dev)

asan: cuda deps  ## the test suite under address and undefined-behaviour sanitizers
	$(call build_and_test,asan,--limit 3600)

tsan: cuda deps  ## the test suite under the thread sanitizer
	$(call build_and_test,tsan,--limit 3600)

# cli_test runs the program itself, which only a kernel with qemu registered could.
ARM_TESTS := base format text kernels dispatch ops model runtime api issues fuzz
QEMU_CPU ?= max
aarch64: deps  ## the library and its tests for 64-bit ARM, cross-compiled, run in qemu; half an hour and more
	@tools/arm_root $(BUILD)/arm_root
	cmake --preset aarch64 -B $(BUILD)/aarch64 -DSTEPLESS_ARM_ROOT=$(abspath $(BUILD)/arm_root) >$(BUILD)/aarch64.log 2>&1 || \
	  { cat $(BUILD)/aarch64.log; exit 1; }
	cmake --build $(BUILD)/aarch64 -j $(JOBS) --target $(ARM_TESTS:%=%_test)
	@tools/check --build $(BUILD)/aarch64 isa-leak
	@tools/run_tests --build $(BUILD)/aarch64 --jobs $(JOBS) --limit 3600 \
	  --emulator "qemu-aarch64 -cpu $(QEMU_CPU) -L $(abspath $(BUILD)/arm_root)" $(ARM_TESTS)

fuzz: cuda deps  ## fuzzes every parser for FUZZ_SECONDS of CPU time; needs clang and libfuzzer-14-dev
	@command -v clang++ >/dev/null || { echo "error: clang++: not installed; apt-get install clang libfuzzer-14-dev" >&2; exit 1; }
	@mkdir -p $(BUILD)
	$(call compile,fuzz)
	@tools/fuzz --build $(BUILD)/fuzz --seconds $(FUZZ_SECONDS)

check:  ## the house rules: tools/check
	@tools/check --build $(BUILD)

bench: cuda deps  ## the kernel benchmarks, built, not run: build/bench/bench/*_bench; needs libbenchmark-dev
	@echo '#include <benchmark/benchmark.h>' | c++ -E -x c++ - >/dev/null 2>&1 || \
	  { echo "error: Google Benchmark: not installed; apt-get install libbenchmark-dev" >&2; exit 1; }
	@mkdir -p $(BUILD)
	$(call compile,bench)

tidy:  ## clang-tidy over src/ (minutes); needs the package clang-tidy
	@command -v run-clang-tidy >/dev/null || { echo "error: run-clang-tidy: not installed; apt-get install clang-tidy"; exit 1; }
	@mkdir -p $(BUILD)
	cmake --preset dev -B $(BUILD)/dev >$(BUILD)/dev.log || { cat $(BUILD)/dev.log; exit 1; }
	run-clang-tidy -quiet -j $(JOBS) -p $(BUILD)/dev '/src/(base|format|text|kernels/[a-z_]*\.cc|dispatch|ops|model|runtime|api|cli)'

docs: build  ## regenerates what docs/ has of tools and results
	@tools/check --build $(BUILD) --update docs

install: build  ## installs under PREFIX (and DESTDIR); the result may be moved
	cmake --install $(BUILD)/release --prefix $(PREFIX)

clean:  ## removes what the targets above made
	rm -rf out $(foreach preset,release dev asan tsan aarch64 bench fuzz,$(BUILD)/$(preset) $(BUILD)/$(preset).log)

deps:
	@tools/install_deps

cuda:
ifeq ($(filter auto on off,$(CUDA)),)
	@echo "error: CUDA=$(CUDA): not a choice; auto, on or off" >&2; exit 2
endif

# Named in conventions.md, not there yet. Each says what is missing instead of succeeding at nothing.
oracle deb wheel image:
	@echo "error: make $@: not in this version; $(missing_$@)" >&2; exit 2
missing_oracle := the makers of the golden fixtures are not in the repository yet
missing_deb := Debian packages come with the library; make install works
missing_wheel := the Python bindings are not written yet
missing_image := the container file comes with the server

help:  ## this list
	@sed -n 's/^\([a-z0-9]*\):[a-z ]*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo "variables: PREFIX=$(PREFIX) CUDA=auto|on|off JOBS=$(JOBS) BUILD=$(BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS)"
