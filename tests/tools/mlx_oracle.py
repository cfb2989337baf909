"""Run by a Python that has mlx-lm (convert_mlx_test.py finds one): converts with mlx_lm and with stepless, compares.

usage: mlx_oracle.py STEPLESS SHARED WORK; prints a JSON object per case: {"case": name, "problems": [...]}.
"""
import contextlib
import gc
import io
import json
import pathlib
import shutil
import struct
import subprocess
import sys

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm import convert, load
from mlx_lm.utils import dequantize_model, load_model

STEPLESS, SHARED, WORK = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
mx.set_default_device(mx.cpu)


def tensors(folder):
    """name -> (dtype, shape, bytes), by hand: what the files hold, not what a library makes of it."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        for name, one in json.loads(data[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = one["data_offsets"]
                found[name] = (one["dtype"], one["shape"], data[8 + size + begin:8 + size + end])
    return found


def same_numbers(ours, theirs, mode):
    """Codes of an fp mode, but for the two things that MLX's CPU build does otherwise (contract.md, section 3): it
    drops the sign of what rounds to zero, and takes exact ties between two E2M1 numbers down, not to the even one."""
    a, b = (np.frombuffer(one, np.uint8) for one in (ours, theirs))
    if mode == "mxfp8":
        return bool(np.all((a == b) | ((a & 0x7F == 0) & (b & 0x7F == 0))))
    a, b = (np.stack([one & 15, one >> 4]).astype(int) for one in (a, b))
    zero = (a & 7 == 0) & (b & 7 == 0)
    tie = ((a & 7) == (b & 7) + 1) & (a % 2 == 0) & ((a & 8 == b & 8) | (b & 7 == 0))
    return bool(np.all((a == b) | zero | tie) and np.mean(tie & (a != b)) < 0.02)


def same_tensors(ours, theirs, fp_mode=""):
    """Byte for byte; codes of an fp mode: see same_numbers()."""
    problems = []
    if ours.keys() != theirs.keys():
        return [f"names differ: {sorted(ours.keys() ^ theirs.keys())[:6]}"]
    for name, (dtype, shape, data) in theirs.items():
        if ours[name][:2] != (dtype, shape):
            problems.append(f"{name}: {ours[name][:2]}, mlx {dtype, shape}")
        elif ours[name][2] != data and not (fp_mode and dtype == "U32" and same_numbers(ours[name][2], data, fp_mode)):
            share = np.mean(np.frombuffer(ours[name][2], np.uint8) != np.frombuffer(data, np.uint8))
            problems.append(f"{name}: {share:.2%} of the bytes differ")
    return problems


def quietly(function, *words, **more):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function(*words, **more)


def run_stepless(source, target, flags):
    done = subprocess.run([STEPLESS, "convert", "--hf-path", str(source), "--mlx-path", str(target), *flags],
                          capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [f"stepless exit {done.returncode}: {done.stderr.strip()}"]


def logits(folder):
    model, _ = quietly(load_model, folder)
    out = model(mx.array([[1, 5, 9, 33, 2, 17]])).astype(mx.float32)
    mx.eval(out)
    return np.array(out)


def config(folder):
    read = json.loads((folder / "config.json").read_text())
    return {key: value for key, value in read.items() if key != "transformers_version"}


def without_null_groups(block):
    """mlx-lm writes null where no group was given with a mixed predicate; stepless the group it used."""
    if isinstance(block, dict):
        return {k: 64 if k == "group_size" and v is None else without_null_groups(v) for k, v in block.items()}
    return block


def compare(case, source, flags, fp_mode="", run=True, **options):
    ours, theirs = WORK / "ours", WORK / "theirs"
    for folder in (ours, theirs):
        shutil.rmtree(folder, ignore_errors=True)
    problems = run_stepless(source, ours, flags)
    if not problems:
        quietly(convert, str(source), str(theirs), **options)
        problems = same_tensors(tensors(ours), tensors(theirs), fp_mode)
        if config(ours) != without_null_groups(config(theirs)):
            a, b = config(ours), without_null_groups(config(theirs))
            problems.append(f"config.json: {[(k, a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)]}")
        index_a, index_b = (json.loads((f / "model.safetensors.index.json").read_text()) for f in (ours, theirs))
        # mlx-lm counts what layers hold; these belong to none.
        index_b["metadata"]["total_parameters"] += sum(
            one[1][0] for name, one in tensors(theirs).items() if name.endswith((".sinks", ".A_log", ".dt_bias")))
        if index_a != index_b:
            problems.append(f"index: {index_a['metadata']}, mlx {index_b['metadata']}")
    if not problems and run:
        a = logits(ours)
        if not np.isfinite(a).all():
            problems.append("mlx-lm's logits of it are not finite")
        if not fp_mode and not np.array_equal(a, logits(theirs)):
            problems.append("mlx-lm's logits differ")
    print(json.dumps({"case": case, "problems": problems}), flush=True)
    gc.collect()


def tokenizer_files(folder):
    for file in (SHARED / "models/tale-draft-bf16").iterdir():
        if file.name.startswith(("tokenizer", "chat_template")):
            shutil.copyfile(file, folder / file.name)


def unstack(name, value, family):
    """One tensor as Hugging Face publishes it."""
    names = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    if family == "qwen3_next" and name.endswith("conv1d.weight"):
        return {name: value.moveaxis(1, 2)}
    if family == "qwen3_next" and name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        return {name: value - 1}
    if ".switch_mlp." in name and family in ("mixtral", "qwen3_moe", "qwen3_next"):
        prefix, rest = name.split(".switch_mlp.")
        part = rest.split(".")[0]
        part = names[part] if family == "mixtral" else part
        return {f"{prefix}.experts.{e}.{part}.weight": value[e] for e in range(value.shape[0])}
    return {name: value}


def float_parent(family):
    """The fixture of a family as floats in Hugging Face's layout."""
    source, folder = SHARED / "golden/families" / family, WORK / f"parent-{family}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model, read = quietly(load_model, source)
    model = dequantize_model(model)
    out = {}
    for name, value in tree_flatten(model.parameters()):
        value = value.astype(mx.bfloat16) if mx.issubdtype(value.dtype, mx.floating) else value
        out.update(unstack(name, value, read["model_type"]))
    mx.save_safetensors(str(folder / "model.safetensors"), out, metadata={"format": "pt"})
    read = json.loads((source / "config.json").read_text())
    for key in ("quantization", "quantization_config"):
        read.pop(key, None)
    (folder / "config.json").write_text(json.dumps(read))
    tokenizer_files(folder)
    return folder


def published_gpt_oss():
    """Experts in mxfp4 as OpenAI publishes them: gate and up interleaved, codes as bytes beside their scales."""
    source, folder = SHARED / "golden/families/gpt_oss", WORK / "parent-gpt_oss"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    held = {}
    for path in source.glob("model*.safetensors"):
        held.update(mx.load(str(path)))
    float_names = {n for n in held if not n.endswith((".scales", ".biases"))}
    out = {}
    for name in sorted(float_names):
        prefix = name.rsplit(".", 1)[0]
        value = held[name]
        if ".experts." in name:
            continue
        if f"{prefix}.scales" in held and name.endswith(".weight"):
            bits = 8 if prefix.endswith("router") else 4
            value = mx.dequantize(value, held[f"{prefix}.scales"], held[f"{prefix}.biases"], 64, bits)
        out[name] = value.astype(mx.bfloat16)
    for stem in sorted({n.rsplit(".experts.", 1)[0] for n in held if ".experts." in n}):
        stem += ".experts."

        def pair(part, axis=1):
            two = mx.stack([held[f"{stem}gate_proj.{part}"], held[f"{stem}up_proj.{part}"]], axis=axis + 1)
            shape = list(held[f"{stem}gate_proj.{part}"].shape)
            shape[axis] *= 2
            return two.reshape(shape)

        def blocks(words):
            return mx.contiguous(words).view(mx.uint8).reshape(*words.shape[:-1], words.shape[-1] // 4, 16)

        out[f"{stem}gate_up_proj_blocks"] = blocks(pair("weight"))
        out[f"{stem}gate_up_proj_scales"] = pair("scales")
        out[f"{stem}gate_up_proj_bias"] = pair("bias")
        out[f"{stem}down_proj_blocks"] = blocks(held[f"{stem}down_proj.weight"])
        out[f"{stem}down_proj_scales"] = held[f"{stem}down_proj.scales"]
        out[f"{stem}down_proj_bias"] = held[f"{stem}down_proj.bias"]
    mx.save_safetensors(str(folder / "model.safetensors"), out)
    read = json.loads((source / "config.json").read_text())
    read.pop("quantization")
    read["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(read))
    tokenizer_files(folder)
    return folder


def main():
    draft = SHARED / "models/tale-draft-bf16"
    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            compare(f"affine b{bits} g{group}", draft, ["-q", "--q-bits", str(bits), "--q-group-size", str(group)],
                    run=group == 64, quantize=True, q_bits=bits, q_group_size=group)
    compare("three shards, 4 bits", SHARED / "models/tale-bf16", ["-q"], quantize=True)
    for recipe in ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"):
        compare(recipe, SHARED / "models/tale-bf16", ["-q", "--quant-predicate", recipe], quantize=True,
                quant_predicate=recipe)
    for mode in ("mxfp4", "mxfp8", "nvfp4"):
        compare(f"{mode} from bf16", draft, ["-q", "--q-mode", mode], mode, quantize=True, q_mode=mode)
        compare(f"{mode} from f32", draft, ["-q", "--q-mode", mode, "--dtype", "float32"], mode, quantize=True,
                q_mode=mode, dtype="float32")
    for dtype in ("float16", "float32"):
        compare(f"{dtype}, 4 bits", draft, ["-q", "--dtype", dtype], quantize=True, dtype=dtype)
        compare(f"{dtype}, dense", draft, ["--dtype", dtype], dtype=dtype)
    compare("dense", SHARED / "models/tale-bf16", [])
    golden = SHARED / "golden/models"
    for name in ("tale-4bit", "tale-draft-mixed", "tale-draft-nvfp4"):
        compare(f"copy of {name}", golden / name, [])
    compare("copy with other scales", golden / "tale-draft-4bit", ["--dtype", "float32"], dtype="float32")
    # In bfloat16 MLX rounds the product before it adds; in float32 values are exact up to their one rounding.
    compare("dequantize mxfp4", golden / "tale-draft-mxfp4", ["-d"], dequantize=True)
    compare("dequantize nvfp4", golden / "tale-draft-nvfp4", ["-d"], dequantize=True)
    for name in sorted(path.parent.name for path in (SHARED / "golden/families").glob("*/config.json")):
        if name == "gpt_oss":
            continue
        parent = float_parent(name)
        compare(f"family {name}", parent, ["-q"], quantize=True)
        compare(f"family {name}, mixed", parent, ["-q", "--quant-predicate", "mixed_3_6"], quantize=True, run=False,
                quant_predicate="mixed_3_6")
    published = published_gpt_oss()
    compare("family gpt_oss as published", published, [])
    compare("family gpt_oss, the rest quantized", published, ["-q"], quantize=True)


main()
