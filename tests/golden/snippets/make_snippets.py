"""snippets.json: small templates and what jinja2 3.1.6 makes of them, in the environment that transformers uses.

    python make_snippets.py > snippets.json        (needs jinja2; cases: [template, text], [template, null] = an error)
"""
import datetime, itertools, json, random
import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

VARIABLES = {
    "s": "Hello, World", "u": "héLLo ßtraße ΑΣ 🙂 x", "e": "", "n": None, "t": True, "f": False, "i": 7, "j": -3,
    "x": 2.5, "y": -0.75, "l": [3, 1, 2], "ls": ["b", "A", "c"], "d": {"a": 1, "b": [1, 2], "items": 9},
    "ld": [{"a": 1, "n": "x"}, {"a": 2, "n": "Y"}, {"a": 1, "n": "z"}], "sp": "  a b\t c \n", "ml": "a\nb\r\nc\n\nd",
    "num": "42", "fl": "3.75", "m": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}],
    "big": 12345678901234567890, "esc": "<a & \"b\">'", "emp": [], "ed": {}}
NAMES = list(VARIABLES) + ["missing", "(1,2)", "range(4)", '"lit"', "1e16", "1.0", "d.items()", "[[1,2],[3]]", "1e-7", "0"]
FILTERS = """abs|capitalize|center(21)|count|d("q")|default("q",true)|dictsort|e|first|float|float(1.5)|forceescape|format(3,4)
groupby("a")~list|indent|indent(2,true)|indent("--",blank=true)|int|int(5)|int(0,16)|items~list|join|join("-")|last|length
list|lower|map("upper")~list|map(attribute="a")~list|map(attribute="zz",default=1)~list|max|min|reject("odd")~list
rejectattr("a")~list|replace("l","LL")|replace("","-")|replace("a","b",1)|reverse~list|round|round(1)|round(1,"floor")
select~list|select("string")~list|selectattr("a","gt",1)~list|slice(2)~list|sort|sort(reverse=true)|sort(attribute="a,n")
string|striptags|sum|title|tojson|tojson(indent=2)|tojson(ensure_ascii=true)|trim|trim("HdaX ")|truncate(6,true)|unique~list
upper|urlencode|wordcount|batch(2,"f")~list|attr("a")|safe + "<"|e + "<"|groupby("a")~map(attribute="grouper")~list"""
TESTS = """defined|none|string|number|integer|float|boolean|true|false|mapping|sequence|iterable|callable|odd|divisibleby 3
sameas none|lower|upper|escaped|in [1,"Hello, World",none]|eq 7|gt 2|lt "b"|ge 2.5|ne none"""
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
SUBSCRIPTS = """[0]|[-1]|[1:]|[:-1]|[::-1]|[::2]|[5:1:-2]|[-3:]|[100]|["a"]|.a|.nope|[none]|[1.0]|[true]|[:100]|[-100:2]|[i:]
.0|["b"][0]|.get("a")|.get("zz","q")|.values()~list|.items()~list|.count("l")|.index("A")|.append(1)|.__class__.x"""
METHODS = """strip()|strip("Hd")|lstrip()|rstrip("\\n")|split()|split(" ")|split("l")|rsplit(None,1)|rsplit("l",1)|split(None,1)
splitlines()|splitlines(true)|startswith("He")|endswith("d")|startswith(("x","h"))|startswith("l",2)|find("l")|find("l",-3,-1)
rfind("l")|index("z")|count("l")|count("")|replace("l","")|replace("","_",3)|upper()|lower()|title()|capitalize()|swapcase()
casefold()|join(["a","b"])|isalnum()|isalpha()|isdigit()|isnumeric()|isspace()|isprintable()|isupper()|islower()|istitle()
partition("l")|rpartition("l")|ljust(20)|rjust(20,"*")|center(21,"é")|zfill(15)|removeprefix("He")|removesuffix("ld")
expandtabs(4)|format(1,x=2)"""
TEXTS = ["s", "u", "e", "sp", "ml", "num", "esc", '"-5"', '"Title Case Here"', '"{} {x}"', '"ﬁ ŉ ǆ İ"', '"a\\tb\\x1cc\\u2028d"', '"ΑΣ. ΣΑ"', '"x²³½Ⅷ٣"']
PERCENT = "%s %5d| %-5d| %05d| %+d %x %#X %e %.2f %8.3f| %g %r %% %c %5s| %.2s| %08.2f %+.1e".split(" ")
BRACES = "{} {0} {:5}| {:<5}| {:^9}| {:*^9}| {:05} {:+} {:,} {:#x} {:b} {:.2f} {:g} {:.1%} {!r} {:.3} {:d} {:010.2f} {{}} { {1} {a} {0[0]} {:s}".split(" ")
NUMBERS = ["s", "i", "j", "x", "y", "n", "l", "1e20", "-1234567.891", '"q"']


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENV = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
ENV.filters["tojson"] = tojson
ENV.globals.update(raise_exception=raise_exception, strftime_now=datetime.datetime(2026, 11, 20, 9, 5, 7).strftime)


def render(template):
    try:
        return ENV.from_string(template).render(**json.loads(json.dumps(VARIABLES)))
    except Exception:
        return None


def words(table):
    return [w.replace("~", "|") if "~" in w and " ~ " not in w else w for line in table.split("\n") for w in line.split("|")]


def candidates():
    for n in NAMES:
        yield "{{ %s }}{{ [%s] }}" % (n, n)
        yield from ("{{ %s|%s }}" % (n, f) for f in words(FILTERS))
        yield from ("{{ %s is %s }} {{ %s is not %s }}" % (n, t, n, t) for t in words(TESTS))
        if n not in ("1.0", "1e16", "1e-7", "0"):  # constants are folded, by other rules
            yield from ("{{ %s%s }}" % (n, s) for s in words(SUBSCRIPTS))
    for a, b in itertools.product(NAMES, NAMES):
        for o in OPERATORS:
            if not (o == "*" and {a, b} & {"big", "1e16"}):
                yield "{{ %s %s %s }}" % (a, o, b)
    yield from ("{{ [%s.%s] }}" % (t, m) for t in TEXTS for m in words(METHODS))
    yield from ('{{ "%s" %% %s }}' % (f, v) for f in PERCENT for v in NUMBERS)
    yield from ('{{ "%s".format(%s) }}' % (f, v) for f in BRACES for v in NUMBERS)


STATEMENTS = [
    "{% for x in l %}{{ y is number }}{% set y = 'in' %}{% endfor %}{{ y }}",
    "{% for x in [1] %}{% break %}{% else %}E{% endfor %}{% for x in [1] %}{% continue %}{% else %}F{% endfor %}{% for x in [1] %}{% else %}G{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ x }} {% endfor %}",
    "{% set ns = namespace(on=true) %}{% for x in l if ns.on %}{{ x }}{% set ns.on = false %}{% endfor %}",
    "{% set ns = namespace(on=true) %}{% for x in l if ns.on %}{{ x }}{{ loop.last }}{% set ns.on = false %}{% endfor %}",
    "{% set g = l | map('string') %}{{ g | first }}{% for x in g %}[{{ x }}]{% endfor %}{{ g | list }}",
    "{% set g = l | select %}{{ 1 in g }}{{ g | list }}",
    "{% macro a() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ a() }}",
    "{% for k in [1, 2] %}{% macro a() %}{{ k }}{{ loop.index }}{% endmacro %}{{ a() }}{% endfor %}",
    "{% macro a(p, q=p) %}{{ p }}{{ q }}{% endmacro %}{{ a(1) }}{{ a(1, 2) }}{{ a(q=3, p=4) }}{{ a() }}",
    "{% macro a(p) %}{{ p }}{% endmacro %}{{ a(1, 2) }}", "{% macro a(p) %}{{ p }}{% endmacro %}{{ a(z=2) }}",
    "{% macro a() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ a(1, *[2, 3], k=4, **{'z': 5}) }}",
    "{% macro a() %}<{{ caller() }}>{% endmacro %}{% call a() %}{% call a() %}x{% endcall %}{% endcall %}", "{% macro a() %}<{{ caller() }}>{% endmacro %}{{ a() }}",
    "{% call(x, y=2) [1] | first %}{% endcall %}", "{% macro a() %}{{ caller(1) }}{% endmacro %}{% call(x, y=2) a() %}{{ x }}{{ y }}{% endcall %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set a = 3 %}{{ a }}{% endwith %}{{ a is defined }}", "{% with %}{{ s }}{% endwith %}",
    "{% filter upper | replace('A', 'b') %}abc{% endfilter %}", "{% set a | upper | trim %} x {% endset %}[{{ a }}]", "{% set a %}{% set b = 1 %}x{% endset %}{{ a }}{{ b is defined }}",
    "{% generation %}{% set b = 1 %}{{ b }}{% endgeneration %}{{ b is defined }}", "{% if true %}{% set b = 1 %}{% endif %}{{ b }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (a, b) = (b, a) %}{{ a }}{{ b }}{% set a, b = 1 %}", "{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1,)] %}{% endfor %}", "{% for a in 5 %}{% endfor %}", "{% for a in n %}{% endfor %}", "{% for a in missing %}{% else %}none{% endfor %}",
    "{% set d.a = 5 %}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns['b'] }}{{ ns.c is defined }}{% set ns.c = 3 %}{{ ns.c }}",
    "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{{ loop.depth0 }}{% endfor %}", "{% for x in l %}{{ loop([1]) }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.revindex0 }},{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{% set j = joiner('; ') %}{{ j() }}a{{ j() }}b{{ j() }}",
    "{{ dict([('a', 1)], b=2) }}{{ dict(d) }}{{ range(3)[1:] }}{{ range(5, 0, -2) | list }}", "{{ range(0) | list }}{{ range(1, 2, 0) }}",
    "{{ 1 if true }}{{ 1 if false }}{{ (1 if false) is defined }}{{ 1 if false else 2 if false else 3 }}", "{{ not true or true and not false }}{{ 1 < 2 <= 2 != 3 }}{{ 2 ** 3 ** 2 }}{{ -2 ** 2 }}{{ 2 * -3 }}{{ - 3 | abs }}",
    "{{ [1, 2,] }}{{ (1,) }}{{ () }}{{ {'a': 1,} }}{{ {} }}{{ 'a' 'b' }}{{ 1, 2 }}{{ 0x1F }}{{ 0b11 }}{{ 1_000 }}{{ 1e3 }}{{ 1.5E-3 }}", "{{ d.0 }}{{ l.0 }}",
    "{{ s is string and i is not none or x }}{{ i is divisibleby 7 }}{{ i is divisibleby(7) is true }}{{ i is in l }}{{ 3 is not in l }}{{ s is eq s }}",
    "{{ raise_exception('no') }}", "{{ strftime_now('%d %b %Y, %H:%M:%S %A %j %U %W %V %G %y %p %I %c %x %X %% %q %-d %e') }}", "{{ nosuch() }}", "{{ s.nosuch() }}", "{{ s | nosuch }}", "{{ s is nosuch }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}",
    "{% if %}x{% endif %}", "{% if true %}", "{% endif %}", "{% nosuch %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ 'a }}", "{{ [1 }}", "{% set x %}", "{% for x %}{% endfor %}", "{% break %}", "{{ a b }}", "{{ 1 | }}", "{# open", "{{ a.b. }}", "{{ 'x' if }}", "{% set true = 1 %}", "{% macro a(b=1, c) %}{% endmacro %}", "{{ f(a=1, 2) }}", "{{ 1 is }}", "{{ @ }}", "{% if a = 1 %}{% endif %}",
]
PIECES = [" ", "\n", "  ", "\t", "x", "y\n", "\r\n", "\n\n", " z ", "\u000b", "\u00a0", "{", "}", "%", "{ {", "é", "<|a|>"]


def whitespace(random_):
    """A template of tags with random signs, and blanks and newlines between."""
    text = lambda: "".join(random_.choice(PIECES) for _ in range(random_.randint(0, 4)))
    sign = lambda: random_.choice(["", "", "-", "+"])
    tag = lambda body: "{%" + sign() + " " + body + " " + sign() + "%}"
    parts = [text]
    for _ in range(random_.randint(1, 5)):
        parts.append(random_.choice([
            lambda: "{{" + sign() + " i " + random_.choice(["", "-"]) + "}}", lambda: "{#" + sign() + " c " + sign() + "#}",
            lambda: tag("if t") + text() + tag("else") + text() + tag("endif"), lambda: tag("for q in l") + text() + tag("endfor"),
            lambda: tag("set q = 1"), lambda: tag("set q") + text() + tag("endset") + "{{ q }}",
            lambda: "{%" + sign() + " raw " + random_.choice(["", "-"]) + "%}" + text() + "{{ r }}" + text() + "{%" + sign() + " endraw " + sign() + "%}"]))
        parts.append(text)
    return "".join(p() for p in parts)


def main():
    random_ = random.Random(7)
    every = [(t, render(t)) for t in candidates()]
    # What Python prints of its own objects, sets and complex numbers is beyond the subset.
    every = [(t, r) for t, r in every if not (r and (" at 0x" in r or "j)" in r or "{'" in r and " - " in t))]
    every = [(t, r) for t, r in every if not ("d.items()" in t and any(o in t for o in (" <", " >", " - ")) or "big|round" in t or "truncate" in t and "d.items" in t)]
    good = [c for c in every if c[1] is not None]
    bad = [c for c in every if c[1] is None]
    cases = random_.sample(good, 2600) + random_.sample(bad, 500)
    cases += [(t, render(t)) for t in STATEMENTS] + [(t, render(t)) for t in (whitespace(random_) for _ in range(400))]
    rows = ",\n".join(json.dumps(c, ensure_ascii=True) for c in cases)
    print('{"variables": %s,\n"cases": [\n%s\n]}' % (json.dumps(VARIABLES), rows))


main()
