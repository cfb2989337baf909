"""pipelines.json: every component of tokenizer.json, alone and together, run by Hugging Face's tokenizers 0.23.3.

    pip install tokenizers==0.23.3 && python make_pipelines.py

Each entry patches the tokenizer of a set beside it (llama3: byte-level, llama2: SentencePiece style).
"""
import copy, json, os
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = {n: json.load(open(f"{HERE}/{n}/tokenizer.json", encoding="utf-8")) for n in ("llama3", "llama2")}
TEXTS = [
    "Hello, World! it's 12345 o'clock...  The\tend\n\n\nONE oneONE x", " a b  c\u00a0d\u3000e\u200bf ", "",
    "cafe\u0301 \ufb01 \u212b \u0344 \u1e69 s\u0323\u0307 \uac00\u11a8 \u0958 \uff76\uff9e \u2460\u00bd\u0130I\u1e9e",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01 \u3072\u3089\u304c\u306a \u0416\u0456 \u05e9\u05dc\u05d5\u05dd \U0001f468\u200d\U0001f469 \U0002ebf0\U00031350 \U00013460",
    "<s>[INST] the king </s> <|eot_id|>  <mask>  the\n", "aaa bbb_ccc-ddd (x)[y] \u2581z <0x41> \u0120q \x00\x1b\x7f\u0085\u2028",
]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
REGEX = [
    r"\s+", r"\w+|[^\w\s]+", r"(?i:'s|'t)|\p{L}+|\p{N}{1,3}+|[^\s\p{L}\p{N}]+|\s+", r"[^\S\r\n]+", r"\d", r"\b", r"\B", r"[a-c&&[^b]]", r"[[:alpha:]]+", r"[[:punct:]]",
    r"(?=[A-Z])", r"\p{Han}|\p{Cyrillic}+", r".", r"^", r"$", r"o|e(?i)N|d", r"\h+", r"\W", r"(?<=a)", r"x*", r"(?m:.+)", r"\p{Lu}{2}?", r"\p{^L}", r"[^\p{^L}a]",
    r"\P{L}+", r"(?:a|b){,2}", r"[\]\[]", r"\R", r"[\s&&[^\n]]+", r"\p{Letter}+", r"\x{4f60}|\u597d", r"[\S\n]+", r"{|a{2}", r"\p{So}|\p{Mn}", r"[^[:space:]]+", r"\A.|.\z", r"(o)\1|(l)\2", r"(?<q>l)\k<q>",
]
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = {**BYTES, "use_regex": True}


def seq(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def meta(scheme, do_split=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": do_split}


def added(base, *tokens):
    """Flags by letter: w single_word, l lstrip, r rstrip, n normalized, s special."""
    out, known = list(BASE[base]["added_tokens"]), BASE[base]["model"]["vocab"]
    new = max([*known.values(), *(t["id"] for t in out)]) + 1
    for content, flags in tokens:
        out = [t for t in out if t["content"] != content]
        i = next((t["id"] for t in BASE[base]["added_tokens"] if t["content"] == content), known.get(content))
        if i is None:
            i, new = new, new + 1
        out.append({"id": i, "content": content, "single_word": "w" in flags, "lstrip": "l" in flags, "rstrip": "r" in flags, "normalized": "n" in flags, "special": "s" in flags})
    return {"added_tokens": sorted(out, key=lambda t: t["id"])}


def pipelines():
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "ByteLevel"):
        yield "llama3", {"normalizer": {"type": form}}
    yield "llama2", {"normalizer": seq("normalizers", {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Prepend", "prepend": "\u2581"}, replace({"String": " "}, "\u2581"))}
    yield "llama2", {"normalizer": seq("normalizers", {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True}), "pre_tokenizer": meta("first")}
    yield "llama2", {"normalizer": replace({"Regex": r"\s+"}, ""), "pre_tokenizer": meta("first", False)}
    yield "llama2", {"normalizer": replace({"Regex": r"(?<=\s)|[aeiou]"}, "\u2581")}
    for r in REGEX:
        yield "llama3", {"pre_tokenizer": seq("pretokenizers", split({"Regex": r}), BYTES)}
    for b in BEHAVIORS:
        for invert in (False, True):
            yield "llama3", {"pre_tokenizer": seq("pretokenizers", split({"Regex": r"\s|\p{P}"}, b, invert), split({"String": "o"}, b, invert), BYTES)}
        yield "llama3", {"pre_tokenizer": seq("pretokenizers", {"type": "Punctuation", "behavior": b}, BYTES)}
    for kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
        yield "llama3", {"pre_tokenizer": seq("pretokenizers", {"type": kind}, BYTES)}
    yield "llama3", {"pre_tokenizer": seq("pretokenizers", {"type": "Digits", "individual_digits": True}, {**GPT2, "add_prefix_space": True})}
    yield "llama3", {"pre_tokenizer": seq("pretokenizers", {"type": "Digits", "individual_digits": False}, GPT2, {"type": "CharDelimiterSplit", "delimiter": "o"})}
    for scheme in ("first", "never", "always"):
        for s in (True, False):
            yield "llama2", {"normalizer": None, "pre_tokenizer": meta(scheme, s), "decoder": meta(scheme, s)}
    yield "llama3", added("llama3", ("the", "w"), ("<mask>", "ls"), ("\n", "r"), ("  ", "lr"), ("ONE", "wn"), ("<|eot_id|>", "lrs"), ("e\u0301", ""))
    yield "llama3", {"normalizer": {"type": "Lowercase"}, **added("llama3", ("ONE", "n"), ("World", ""), ("the end", "n"), ("Hello", "wn"))}
    yield "llama2", added("llama2", ("ONE", "n"), ("the", "nl"), ("king", "wnr"), ("\n\n", "r"), ("<mask>", "lr"), ("</s>", "ns"))
    for options in ({"ignore_merges": True}, {"byte_fallback": False}, {"byte_fallback": False, "fuse_unk": False}, {"byte_fallback": False, "unk_token": None}):
        yield "llama2", {"model": options}
    yield "llama3", {"model": {"ignore_merges": False, "byte_fallback": True}, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    strip = {"type": "Strip", "content": " ", "start": 2, "stop": 0}
    for decoder in (None, {"type": "Fuse"}, {"type": "ByteFallback"}, replace({"Regex": "[\u2581a]+"}, "-"), strip, seq("decoders", replace({"String": "\u2581"}, " "), strip), seq("decoders", replace({"String": "\u2581"}, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, strip),
                    seq("decoders", {"type": "ByteFallback"}, meta("always")), seq("decoders", {"type": "Fuse"}, replace({"String": "\u2581t"}, " T"))):
        yield "llama2", {"decoder": decoder}
    yield "llama3", {"decoder": seq("decoders", GPT2, replace({"String": "o'"}, "OOO"))}
    pair = [["</s>", 2], ["<s>", 1]]
    yield "llama2", {"post_processor": {"type": "RobertaProcessing", "sep": pair[0], "cls": pair[1], "trim_offsets": True, "add_prefix_space": True}}
    bert = {"type": "BertProcessing", "sep": pair[0], "cls": pair[1]}
    yield "llama2", {"post_processor": seq("processors", bert, BASE["llama2"]["post_processor"])}


def main():
    out = []
    for base, patch in pipelines():
        full = copy.deepcopy(BASE[base])
        full.update({k: v for k, v in patch.items() if k != "model"})
        full["model"].update(patch.get("model", {}))
        t = Tokenizer.from_str(json.dumps(full))
        cases = []
        for i, text in enumerate(TEXTS):
            ids = t.encode(text, add_special_tokens=False).ids
            case = {"text": i, "ids": ids, "template": t.encode(text).ids}
            if case["template"] == ids:
                del case["template"]
            if "decoder" in patch or "added_tokens" in patch:
                case["decoded"] = t.decode(ids, skip_special_tokens=False)
            cases.append(case)
        out.append(json.dumps({"base": base, "patch": patch, "cases": cases}, separators=(",", ":")))
    with open(f"{HERE}/pipelines.json", "w", encoding="ascii") as f:
        f.write('{"texts": ' + json.dumps(TEXTS) + ',\n"pipelines": [\n' + ",\n".join(out) + "\n]}\n")
    print(len(out), "pipelines")


main()
