"""chat as a person meets it: at a terminal (pexpect), and through a pipe."""
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

try:
    import pexpect
except ImportError:
    pexpect = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("STEPLESS_TEST_BUILD", ROOT / "build/dev"))
BINARY = BUILD / "bin/stepless"
WAIT = 120  # seconds until a prompt must be there; not a measure of speed


@unittest.skipUnless(BINARY.is_file(), "the command line is not built")
class Chat(unittest.TestCase):
    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="stepless-chat-"))
        self.addCleanup(shutil.rmtree, self.home)
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "TERM": "xterm", "LANG": "C.UTF-8"}
        self.command = [str(BINARY), "chat", "--model", str(ROOT / "models/tale-4bit")]

    def pipe(self, text, *flags, code=0):
        done = subprocess.run([*self.command, *flags], input=text, cwd=self.home, env=self.environment,
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def answers(self, text, *flags):
        """The objects of --json, one per answer."""
        return [json.loads(line) for line in self.pipe(text, "--json", *flags).stdout.splitlines()]


class Piped(Chat):
    def test_answers_go_to_stdout_and_figures_to_stderr(self):
        done = self.pipe("Tell me a tale.\n", "--max-tokens", "8")
        self.assertNotIn("\033", done.stdout + done.stderr)
        self.assertNotIn("> ", done.stdout + done.stderr)
        self.assertRegex(done.stderr, r"^8 tokens · [\d.]+ tok/s · prompt \d+ tok/s .*· peak \d\.\d\d GB")

    def test_quiet_leaves_only_the_answer(self):
        done = self.pipe("Tell me a tale.\n", "--max-tokens", "8", "--quiet")
        self.assertEqual(done.stderr, "")
        self.assertNotEqual(done.stdout.strip(), "")

    def test_an_answer_sees_what_was_said_before(self):
        first, second = self.answers("Tell me a tale.\nGo on.\n", "--max-tokens", "6")
        self.assertGreater(second["usage"]["prompt_tokens"],
                           first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"])

    def test_reset_forgets_and_keeps_the_system_message(self):
        first, _, third = self.answers("A fox\nGo on.\nr\nA fox\n", "--max-tokens", "6", "--system-prompt", "Be brief.")
        self.assertEqual(first["text"], third["text"])
        self.assertEqual(first["usage"], third["usage"])
        without, = self.answers("A fox\n", "--max-tokens", "6")
        self.assertLess(without["usage"]["prompt_tokens"], first["usage"]["prompt_tokens"])

    def test_system_sets_and_removes_the_system_message(self):
        plain, told, again = self.answers("A fox\n/reset\n/system Be brief.\nA fox\n/reset\n/system\nA fox\n",
                                          "--max-tokens", "4")
        self.assertGreater(told["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"])
        self.assertEqual(plain["text"], again["text"])

    def test_the_seed_is_zero_unless_given_and_retry_takes_the_next(self):
        first, retried = self.answers("A fox\n/retry\n", "--max-tokens", "12", "--temp", "1.3")
        self.assertEqual((first["seed"], retried["seed"]), (0, 1))
        self.assertEqual(first["usage"]["prompt_tokens"], retried["usage"]["prompt_tokens"])
        self.assertNotEqual(first["tokens"], retried["tokens"])
        seeded, = self.answers("A fox\n", "--max-tokens", "12", "--temp", "1.3", "--seed", "1")
        self.assertEqual(seeded["tokens"], retried["tokens"])

    def test_set_changes_flags_and_names_what_it_cannot(self):
        short, = self.answers("/set max-tokens 3\nA fox\n")
        self.assertEqual(len(short["tokens"]), 3)
        for line, words in (("/set tmp 0.7", "did you mean temp?"), ("/set temp", "needs a value"),
                            ("/set temp warm", "/set temp warm: not a number"), ("/set model x", "no setting of a conversation"),
                            ("/set max-tokens -3", "/set max-tokens -3: not a whole number from 0 to 2147483648\n"),
                            ("/set seed -1", "/set seed -1: not a whole number from 0 to "),
                            ("/set top-p 3", "/set top-p 3: not from 0 to 1\n"),
                            ("/set top-k 999999", "--top-k 999999: not from 0 to "),
                            ("/set stop x", "give --stop when the chat starts"),
                            ("/set logit-bias 5:1", "give --logit-bias when the chat starts"),
                            ("/set system-prompt x", "/set system-prompt: /system TEXT sets it")):
            self.assertIn(words, self.pipe(line + "\n", code=1).stderr, line)
        self.assertRegex(self.pipe("/set temp 0.5\n/set\n").stderr, r"temp +0\.5")

    def test_a_bad_sampling_value_spares_the_conversation(self):
        for bad in ("temp -1", "temp nan", "top-k 999999", "seed -1"):
            done = self.pipe(f"/set {bad}\nA fox\n", "--json", "--max-tokens", "4", code=1)
            answer, = done.stdout.splitlines()
            alone, = self.answers("A fox\n", "--max-tokens", "4")
            self.assertEqual(json.loads(answer)["tokens"], alone["tokens"], bad)

    def test_quotes_hold_several_lines_and_slashes(self):
        one, = self.answers('"""\nA fox\nand a /hen\n"""\n', "--max-tokens", "4")
        other, = self.answers('"""A fox\nand a /hen"""\n', "--max-tokens", "4")
        self.assertEqual(one["usage"], other["usage"])
        self.assertEqual(one["tokens"], other["tokens"])
        self.assertIn("has no end", self.pipe('"""\nA fox\n', code=1).stderr)

    def test_commands_that_are_not_known(self):
        self.assertIn("did you mean /reset?", self.pipe("/rset\n", code=1).stderr)
        self.assertIn("takes nothing", self.pipe("/quit now\n", code=1).stderr)
        self.assertIn("needs a file name", self.pipe("/save\n", code=1).stderr)
        self.assertIn("no message to answer", self.pipe("/retry\n", code=1).stderr)

    def test_stats_and_help(self):
        done = self.pipe("A fox\n/stats\nh\n", "--max-tokens", "4")
        self.assertRegex(done.stderr, r"1 answers, 2 messages; \d+ prompt tokens")
        for word in ("/quit", "/reset", "/help", "/system", "/save", "/load", "/retry", "/stats", "/set"):
            self.assertIn(word, done.stderr)

    def test_a_saved_conversation_goes_on_where_it_was(self):
        whole = self.answers("A fox\nGo on.\n", "--max-tokens", "6", "--system-prompt", "Be brief.")
        self.pipe("A fox\n/save talk.json\n", "--max-tokens", "6", "--system-prompt", "Be brief.")
        saved = self.home / "talk.json"
        self.assertEqual(stat.S_IMODE(saved.stat().st_mode), 0o600)
        self.assertEqual([message["role"] for message in json.loads(saved.read_text())],
                         ["system", "user", "assistant"])
        loaded = self.answers("/load talk.json\nGo on.\n", "--max-tokens", "6")
        self.assertEqual(loaded[0]["tokens"], whole[1]["tokens"])
        self.assertEqual([path.name for path in self.home.glob("talk.json*")], ["talk.json"])

    def test_a_file_that_lies_leaves_the_conversation(self):
        expected = self.answers("A fox\nGo on.\n", "--max-tokens", "4")[1]
        for text, words in (("[{]", "bad.json"), ("{}", "not a JSON array"), ("[3]", "message 1: not an object"),
                            ('[{"role": "user"}]', 'no text "content"'),
                            ('[{"role": "king", "content": "x"}]', 'role "king"'),
                            ('[{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]',
                             "message 2: a system message")):
            (self.home / "bad.json").write_text(text)
            done = self.pipe("A fox\n/load bad.json\nGo on.\n", "--max-tokens", "4", "--json", code=1)
            self.assertIn(words, done.stderr, text)
            self.assertEqual(json.loads(done.stdout.splitlines()[1])["tokens"], expected["tokens"], text)
        self.assertIn("missing.json", self.pipe("/load missing.json\n", code=1).stderr)

    def test_a_file_that_cannot_be_written_is_named(self):
        (self.home / "folder").mkdir()
        self.assertIn("nowhere/x.json", self.pipe("A fox\n/save nowhere/x.json\n", "--max-tokens", "2", code=1).stderr)
        self.assertIn("folder", self.pipe("A fox\n/save folder\n", "--max-tokens", "2", code=1).stderr)

    def test_a_full_context_says_how_many_tokens_and_what_helps(self):
        done = self.pipe("A fox and a hen went to the market\nGo on.\nGo on.\n/reset\nA fox\n", "--ctx-size", "48",
                         "--max-tokens", "0", "--json", "--logit-bias", "2:-1000", code=1)
        self.assertRegex(done.stderr, r"context: the conversation takes \d+ tokens, 48 fit; /reset begins anew, --ctx-size")
        self.assertEqual(len(done.stdout.splitlines()), 2)

    def test_what_a_conversation_cannot_take_is_refused(self):
        for flags in (["--ignore-chat-template"], ["--prefill-response", "x"], ["--logprobs", "2"], ["--prompts", "x"]):
            self.assertEqual(self.pipe("", *flags, code=2).stdout, "", flags)
        done = subprocess.run([str(BINARY), "chat", "--synthetic", "qwen3-0.6b", "--max-isa", "vax"], input="",
                              env=self.environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2, done.stderr)

    def test_a_template_that_raises_is_an_error_of_its_message(self):
        (self.home / "t.jinja").write_text(
            "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('no such thing') }}{% endif %}"
            "{{ m.content }}{% endfor %}")
        done = self.pipe("bad\nA fox\n", "--chat-template", "t.jinja", "--max-tokens", "3", "--json", code=1)
        self.assertIn("no such thing", done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 1)


@unittest.skipUnless(pexpect, "python3-pexpect is not installed")
class AtATerminal(Chat):
    def start(self, *flags, **environment):
        child = pexpect.spawn(self.command[0], [*self.command[1:], *flags], cwd=str(self.home), encoding="utf-8",
                              env=dict(self.environment, **environment), timeout=WAIT, dimensions=(24, 80))
        self.addCleanup(child.close, force=True)
        child.expect("> ")
        return child

    def test_a_conversation_and_its_history(self):
        child = self.start("--max-tokens", "5")
        child.sendline("A fox")
        child.expect("5 tokens · .* peak .* GB")
        child.expect("> ")
        child.sendline("q")
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual(child.exitstatus, 0)
        history = self.home / ".local/state/stepless/chat_history"
        self.assertEqual(stat.S_IMODE(history.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(history.parent.stat().st_mode), 0o700)
        self.assertIn("fox", history.read_text())
        again = self.start("--max-tokens", "5")
        again.send("\033[A\033[A")  # q, then the message before it
        again.expect("A fox")
        again.sendline("")
        again.expect("5 tokens")

    def test_lines_can_be_edited(self):
        child = self.start("--json", "--max-tokens", "3")
        child.sendline("A foxes\x7f\x7f")
        child.expect(r'"tokens":\[([\d,]*)\]')
        alone, = self.answers("A fox\n", "--max-tokens", "3")
        self.assertEqual([int(id) for id in child.match.group(1).split(",")], alone["tokens"])

    def test_ctrl_c_ends_the_answer_only(self):
        child = self.start("--max-tokens", "0", "--temp", "1", "--logit-bias", "2:-1000", "-t", "1")
        child.sendline("Tell me a tale.")
        child.expect("[a-z]{3,} [a-z]{2,} [a-z]{2,}")
        child.sendintr()
        child.expect("interrupted")
        child.expect("> ")
        child.sendline("/save talk.json")
        child.expect("> ")
        child.sendeof()
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual(child.exitstatus, 0)
        messages = json.loads((self.home / "talk.json").read_text())
        self.assertEqual([message["role"] for message in messages], ["user", "assistant"])
        self.assertGreater(len(messages[1]["content"]), 5)

    def test_ctrl_c_at_the_prompt_clears_the_line_and_twice_quits(self):
        child = self.start("--max-tokens", "3")
        child.send("half a line")
        child.expect("half a line")
        child.sendintr()
        child.expect("again or Ctrl-D quits")
        child.expect("> ")
        child.sendline("/stats")
        child.expect("0 answers, 0 messages")  # what was typed was not sent
        child.expect("> ")
        child.sendintr()
        child.expect("quits")
        child.expect("> ")
        child.send("another half")
        child.expect("another half")
        child.sendintr()  # after a key it is the line that goes, not the chat
        child.expect("quits")
        child.expect("> ")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual(child.exitstatus, 130)

    def test_sigterm_at_the_prompt_ends_at_once(self):
        child = self.start()
        child.kill(15)
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual(child.exitstatus, 143)

    def test_no_escapes_on_a_plain_terminal(self):
        for environment in ({"TERM": "dumb"}, {"NO_COLOR": "1"}):
            child = self.start("--max-tokens", "4", **environment)
            child.sendline("A fox")
            child.expect("4 tokens")
            child.expect("> ")
            shown = child.before + child.after
            child.sendline("q")
            child.expect(pexpect.EOF)
            self.assertIsNone(re.search("\033", shown + child.before), environment)


if __name__ == "__main__":
    unittest.main()
