// What every bench hands over: rows, the ceilings beside them, how it was measured; and how that is
// written. One frame for all benches, so that compare and report read them all.
#pragma once
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/measure.hpp"
#include "stepless/bench.hpp"

namespace stepless::cli {

/// A column of the printed table: a field of the rows, its heading and its decimals (-1: text as it
/// is). Fields without a column are in csv and JSON only.
struct Column {
  std::string field;
  std::string title;
  int decimals = -1;
  std::string (*text)(const OrderedJson& row) = nullptr;  // instead of the field's own value
};

struct BenchResult {
  std::string bench;     // "qmm"
  OrderedJson method;    // cold, repeats, ...: what has to agree to be compared
  OrderedJson ceilings;  // ceilings_json()
  std::vector<Column> columns;
  std::vector<OrderedJson> rows;    // snake_case with units: us, gb_s, floor_pct
  std::vector<std::string> key;     // the fields that name a row: n, k, m
  std::vector<std::string> report;  // lines below the table: the no-step report
  std::int64_t worse = 0;           // rows that compare calls slower
  std::int64_t steps = 0;           // that the report tells of
  std::string model;                // what --model named; "": none
  std::string gpu;                  // that ran it; "": the CPU
};

/// us, us_min, us_max, us_q1, us_q3, spread_pct, noisy, repeats, disturbed: what a row says of its
/// samples.
void add_times(OrderedJson& row, const std::vector<double>& us, std::int64_t disturbed);
/// Behind add_times(): gb_s, tflop_s, floor_us, floor_pct.
void add_floor(OrderedJson& row, double bytes, double flop, double floor_us);
/// Rows of more spread than this are marked ~, and more than so many make the whole not trusted.
inline constexpr double kMostSpread = 0.04;
inline constexpr int kMostNoisyRows = 3;
int noisy_rows(const BenchResult& result);

/// Adds the samples of `more` to those of `all`, of the same machine and threads.
void merge(Ceilings& all, const Ceilings& more);
/// {threads, read_gb_s: {median, min, max}, ...}; kinds there are none of are null.
OrderedJson ceilings_json(const Ceilings& ceilings);
/// One line of them for below a table.
std::string ceilings_line(const OrderedJson& ceilings);

/// The envelope: schema, bench, machine, build, command, date, method, ceilings, key, trusted,
/// report, rows.
OrderedJson envelope_of(const BenchResult& result);
/// {digest, cpu, caches, threads, placement, gpu, driver, memory}; the digest is of all of them.
OrderedJson machine_object(int threads);
/// The words this process was started with, the program's own as "stepless".
std::vector<std::string> command_words();
/// Today, 2026-11-28.
std::string today();

/// md, csv, json, jsonl (the rows, then the envelope without them) or sql (a table and its rows);
/// ends in a newline.
std::string written(const BenchResult& result, const std::string& format);
/// The fields of all rows, in the order in which they come.
std::vector<std::string> fields_of(const std::vector<OrderedJson>& rows);
std::string sql(const BenchResult& result);
/// A value as a table shows it.
std::string cell_text(const OrderedJson& row, const Column& column);

}  // namespace stepless::cli
