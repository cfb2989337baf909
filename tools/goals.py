"""The goals of one H200 beside what the committed results reach, as Markdown: tools/performance puts it in front."""
import json

RESULTS = "bench/results/h200"
PRODUCT_GOALS = {  # us, by (n, k) and m
    (13824, 5120): {1: 11.9, 3: 12.0, 8: 12.2, 16: 13.2, 32: 16, 64: 24},
    (4096, 4096): {1: 3.9, 3: 3.9, 8: 4.1, 16: 4.6, 32: 5.5, 64: 7.5},
    (128256, 3072): {1: 55, 4: 56, 16: 60},
}
DECODE_GOALS = {1: 1400, 8: 10_000, 32: 25_000}  # tokens/s, by sequences at context 64


class Results:
    def __init__(self, root):
        def read(name):
            return json.loads((root / RESULTS / f"{name}.json").read_text())
        self.peers = read("peers")["rows"]
        self.flat = {(shape["n"], shape["k"], row["m"]): row for shape in read("qmm_flat")["shapes"] for row in shape["rows"]}
        self.widths = {row["row"]: row["m"] for row in read("qmm_widths")["us_and_share_of_the_floor_by_m"]
                       if (row["n"], row["k"]) == (13824, 5120)}
        self.prompts = {row["row"]: row["m"] for row in read("prompts")["us_and_tflops_by_m"] if row["n"] == 13824}
        self.dot = {(row["type"], row["k"]): row for row in read("dot")["rows"]}
        self.gather = {row["tokens"]: row for row in read("gather")["shapes"][0]["rows"]}
        self.engine = {name: {row["batch"]: row for row in read(name)["rows"] if row["mean_context"] == 64}
                       for name in ("engine", "engine_f16")}
        self.prompt = next(row for row in read("prompt")["rows"] if row["variant"] == "kv=16")

    def peer(self, name, key="us", **wanted):
        """What a peer reached; None: nobody measured that."""
        for row in self.peers:
            if row["peer"].startswith(name) and all(row.get(word) == value for word, value in wanted.items()):
                return row[key]
        return None


def product_rows(results):
    for (n, k), m, goal in ((shape, *pair) for shape, goals in PRODUCT_GOALS.items() for pair in goals.items()):
        row, at = results.flat[n, k, m], {"n": n, "k": k, "m": m}
        peers = [results.peer("MLX", what="qmm", format="affine_b4_g64_bf16", **at),
                 results.peer("PyTorch", what="qmm", **at), results.peer("PyTorch", what="mm", **at)]
        yield f"{n} x {k}, 4 bits, m = {m}, us", peers, row["floor_us"], goal, row["us"], False


def width_rows(results):
    """Other formats: 0.85 of the share of the floor that 4 bits reach."""
    formats = [(f"{bits} bit{'s' if bits > 1 else ''}", {1: f"affine_b{bits}_bf16_m8n16", 16: f"affine_b{bits}_bf16_m64n64"},
                f"affine_b{bits}_g64_bf16") for bits in (1, 2, 3, 5, 6, 8)]
    formats += [(name, {1: f"{name}_m8n16", 16: f"{name}_m64n64"}, f"{name}_b{bits}_g{group}_bf16")
                for name, bits, group in (("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16))]
    formats += [("4 bits of f16", {1: "affine_b4_f16_m8n16", 16: "affine_b4_f16_m64n64"}, "affine_b4_g64_f16"),
                ("4 bits, float32 x", {m: "affine_b4_f32_m21n64" for m in (1, 16)}, "affine_b4_g64_f32")]
    for name, rows, peer in formats:
        for m, row in rows.items():
            us, share = results.widths[row][str(m)]
            mlx = results.peer("MLX", what="qmm", format=peer, n=13824, k=5120, m=m)
            yield (f"13824 x 5120, {name}, m = {m}, us", [mlx, None, None], us * share,
                   us * share / (0.85 * results.flat[13824, 5120, m]["of_floor"]), us, False)


def step_rows(results):
    for m in (8, 16, 32, 48):
        after = {8: 9, 16: 17, 32: 33, 48: 64}[m]
        one, other = results.flat[13824, 5120, m], results.flat[13824, 5120, after]
        yield (f"13824 x 5120, from {m} to {after} rows, times", [None] * 3, other["floor_us"] / one["floor_us"], 1.10,
               other["us"] / one["us"], False)


def prompt_rows(results):
    for m, goal in ((512, 500), (2048, 680)):
        at = {"n": 13824, "k": 5120, "m": m}
        mlx, bf16 = (results.peer(name, what=what, **at) for name, what in (("MLX", "qmm"), ("PyTorch", "mm")))
        rate = 2 * 13824 * 5120 * m / 1e6
        yield (f"13824 x 5120, m = {m}, TFLOP/s", [rate / mlx, None, rate / bf16], 790, goal,
               results.flat[13824, 5120, m]["prompt_tflops"], True)


def prompt_format_rows(results):
    """Other formats' prompts: what 4 bits are asked for."""
    for row, name in (("affine_b4_f16", "4 bits of f16"), ("affine_b3_bf16", "3 bits"), ("affine_b8_bf16", "8 bits"),
                      ("mxfp4", "mxfp4"), ("nvfp4", "nvfp4"), ("mxfp8", "mxfp8"), ("dense_bf16", "dense bf16")):
        rate = results.peer("PyTorch", what="mm", n=13824, k=5120, m=2048)
        yield (f"13824 x 5120, {name}, m = 2048, TFLOP/s", [None, None, 2 * 13824 * 5120 * 2048 / 1e6 / rate], 790, 680,
               results.prompts[row]["2048"][1], True)


def dot_rows(results):
    for kind, k, goal, floor in (("f32", 50_000_000, 96, 93), ("bf16", 50_000_000, 50, 46), ("f32", 4096, 2.2, 1.1)):
        at = {"what": "dot", "type": kind, "k": k}
        yield (f"dot of {k:,} {kind}, us", [results.peer("MLX", **at), None, results.peer("PyTorch", **at)], floor, goal,
               results.dot[kind, k]["us"], False)


def gather_rows(results):
    for tokens in (1, 8, 32):
        row = results.gather[tokens]
        yield (f"64 experts of 1536 x 2048, 8 to each of {tokens} tokens, us",
               [results.peer("MLX", what="gather", tokens=tokens), None, None], row["floor_us"], 2 * row["floor_us"], row["us"],
               False)


def model_rows(results):
    for name, of_type in (("engine", ""), ("engine_f16", " of f16")):
        for batch, goal in DECODE_GOALS.items():
            row = results.engine[name][batch]
            mlx = None if of_type else results.peer("mlx-lm", "tokens_per_second", what="decode", batch=batch)
            yield (f"3B{of_type}, {batch} sequences at context 64, tokens/s", [mlx, None, None], 1e6 / row["floor_us_per_token"],
                   goal, row["tokens_per_second"], True)
    yield ("3B, a prompt of 10,049 tokens, s", [results.peer("mlx-lm", "ttft_s", what="prefill"), None, None], 0.094, 0.14,
           results.prompt["ttft_s"], False)


def number(value):
    if value is None:
        return "–"
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def goals_text(root):
    results = Results(root)
    rows = [row for some in (product_rows, width_rows, step_rows, prompt_rows, prompt_format_rows, dot_rows, gather_rows, model_rows)
            for row in some(results)]
    lines = ["## Goals of one H200", "",
             "What is reached stands beside the goal; a miss is told as how many times the goal it takes. Floors: bytes by the",
             "reading that the same run measured, or arithmetic. MLX and PyTorch: [peers.json](../bench/results/h200/peers.json),",
             "measured on another day.", "",
             "| what | MLX-CUDA | PyTorch, 4 bits | cuBLAS, torch.dot | floor | goal | reached | |",
             "|---|--:|--:|--:|--:|--:|--:|---|"]
    for what, peers, floor, goal, reached, more_is_better in rows:
        short = goal / reached if more_is_better else reached / goal
        verdict = "reached" if short <= 1 else f"{short:.3g} times"
        lines.append(f"| {what} | " + " | ".join(map(number, [*peers, floor, goal, reached])) + f" | {verdict} |")
    return "\n".join(lines) + "\n"
