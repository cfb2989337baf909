// What asm statements share that keep integer sums of up to twelve rows of x in registers: of the
// high plane of row i in zmm i, of the low plane in zmm 12 + i. They name [rows]; rsi points at x.
// Static only: nothing here is exported.
#pragma once

/// `each_row` calls a macro with the number of every row, its two sums and what else it takes.
#define STEPLESS_ROW_MACROS                                                      \
  ".macro each_row what, a=0, b=0, c=0, d=0, e=0\n"                              \
  "\\what 0, 0, 12, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 1, 1, 13, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 2, 2, 14, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 3, 3, 15, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 4, 4, 16, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 5, 5, 17, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 6, 6, 18, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 7, 7, 19, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 8, 8, 20, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 9, 9, 21, \\a, \\b, \\c, \\d, \\e\n"                                   \
  "\\what 10, 10, 22, \\a, \\b, \\c, \\d, \\e\n"                                 \
  "\\what 11, 11, 23, \\a, \\b, \\c, \\d, \\e\n"                                 \
  ".endm\n"                                                                      \
  ".macro products row, high, low, dword, codes, c, d, e\n"                      \
  ".if \\row < %c[rows]\n"                                                       \
  "vpdpbusd 64*\\row+4*(\\dword)(%%rsi)%{1to16%}, %%zmm\\codes, %%zmm\\high\n"   \
  "vpdpbusd 64*\\row+4*(\\dword)+32(%%rsi)%{1to16%}, %%zmm\\codes, %%zmm\\low\n" \
  ".endif\n"                                                                     \
  ".endm\n"

#define STEPLESS_NO_ROW_MACROS \
  ".purgem each_row\n"         \
  ".purgem products\n"

#define STEPLESS_ALL_VECTORS                                                                    \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",      \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", \
      "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", \
      "xmm31"
