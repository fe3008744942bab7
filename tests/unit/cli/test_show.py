"""`otel-cinder show` and `report`, on traces of real Cinder."""

from __future__ import annotations

import html.parser
import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from otel_cinder.cli.commands import cli
from otel_cinder.cli.difference import draw_difference
from otel_cinder.cli.plain_text import fitted
from otel_cinder.cli.report.html import to_html
from otel_cinder.cli.report.markdown import escaped, to_markdown
from otel_cinder.cli.report.timeline import cut
from otel_cinder.cli.show import console_of
from otel_cinder.cli.table import draw_table
from otel_cinder.cli.traces import told_in
from otel_cinder.cli.tree import draw
from otel_cinder.reading.diff import difference_of
from otel_cinder.reading.notes import notes_of
from otel_cinder.reading.story import Story
from otel_cinder.reading.trace import EventRecord, SpanRecord, Trace
from otel_cinder.reading.words import words
from tests.click_runner import runner
from tests.unit.reading.recorded import TRACES, recorded
from tests.unit.reading.test_backends import answering

GOLDENS = Path(__file__).parent / "goldens"
CREATE, RESCHEDULE = (str(TRACES / f"{name}.jsonl") for name in ("create", "reschedule"))
NAMES = ["create", "reschedule", "no_backend_left", "attach_fails", "quota_exceeded"]
ENGLISH = {"LC_ALL": "C.UTF-8", "NO_COLOR": ""}


def invoke(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a command: status, output, error output."""
    result = runner().invoke(cli, arguments, env={**ENGLISH, **environment})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def drawn(name: str, language: str, width: int, encoding: str = "utf-8") -> str:
    """The table as a terminal of that width gets it."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    draw_table(recorded(name), Console(file=file, width=width), words(language))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["create", "reschedule"])
def test_the_table_looks_like_its_golden(name: str, language: str) -> None:
    """Notes in both languages, in a terminal of 110 columns (UPDATE_GOLDENS=1 rewrites)."""
    golden = GOLDENS / f"notes_{name}_{language}.txt"
    text = drawn(name, language, 110)
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("width", [1, 20, 60, 80, 200])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_line_is_wider_than_the_terminal(width: int, language: str) -> None:
    """Lines are wrapped, and wide characters count as two columns."""
    name = "reschedule" if width > 1 else "attach_fails"
    lines = drawn(name, language, width).splitlines()
    # A wide character does not fit into one column.
    assert max(map(cell_len, lines)) <= max(width, 2)


def test_a_chinese_tree_lines_up() -> None:
    """The column of durations, which is the last, ends in the same place whatever the states are."""
    file = io.StringIO()
    draw(recorded("reschedule"), Console(file=file, width=80), words("zh"))
    lines = file.getvalue().splitlines()
    spans = [line for line in lines[1:] if re.search(r" [0-9.]+ (?:µs|ms|s)$", line)]
    assert len(spans) == 42
    assert {cell_len(line) for line in spans} == {75}
    assert any("第 2 次" in line for line in spans)
    assert any("等待 " in line for line in spans)


@pytest.mark.parametrize("form", ["tree", "table"])
def test_not_a_terminal_nothing_is_cut(form: str) -> None:
    """A pipe has no width: long lines stay whole, and nothing is coloured."""
    status, output, _ = invoke("show", RESCHEDULE, "--format", form)
    assert status == 0
    (line,) = [line for line in output.splitlines() if "Error scheduling" in line]
    assert "flows/manager/create_volume.py" in line
    assert "told the user: Driver failed to create the volume." in output
    assert "\x1b" not in output


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_piped_table_lines_up(lang: str) -> None:
    """The first column is as wide as its longest cell: each detail begins below the heading."""
    _, output, _ = invoke("show", RESCHEDULE, "--format", "table", "--lang", lang)
    heading = {"en": "Detail", "zh": "详情"}[lang]
    lines = output.splitlines()
    (first,) = [line for line in lines if line.endswith(f"  {heading}")]
    begin = cell_len(first.removesuffix(heading))
    details = [line for line in lines[lines.index(first) :] if cell_len(line) > begin]
    assert len(details) > 300
    assert {set_cell_size(line, begin)[-2:] for line in details} <= {"  ", "──"}


def test_an_ascii_terminal_gets_ascii() -> None:
    """Lines and arrows of plain characters."""
    text = drawn("create", "en", 100, encoding="ascii")
    assert "PENDING > RUNNING > SUCCESS" in text
    assert text.isascii()
    assert fitted("├ 卷 µ", "ascii") == "| ? u"
    assert fitted("├ 卷", "gb18030") == "├ 卷"
    assert fitted("\ud800", "utf-8") == "?"
    assert fitted("é", "no-such-encoding") == "?"


def test_the_language_is_the_locales_or_the_wanted_one() -> None:
    """LANG=zh_CN tells it in Chinese; --lang decides."""
    assert "检查请求" not in invoke("show", CREATE, "--format", "table")[1]
    assert "检查请求" in invoke("show", CREATE, "--format", "table", LC_ALL="zh_CN.UTF-8")[1]
    output = invoke("show", CREATE, "--format", "table", "--lang", "en", LC_ALL="zh_CN.UTF-8")[1]
    assert "Reserve quota for the size and type" in output
    assert "22 个 span" in invoke("show", CREATE, "--lang", "zh")[1]


def test_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """--no-colour, --no-color and NO_COLOR: no colours, even in a terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console_of(plain=True).no_color
    assert not console_of(plain=False).no_color
    monkeypatch.setenv("NO_COLOR", "1")
    assert console_of(plain=False).no_color


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["nowhere.jsonl"], 2, "Check the path: cannot read nowhere.jsonl"),
        (["f" * 32], 2, "Add --jaeger URL or --tempo URL"),
        (["req-7f3c"], 2, "Add --jaeger URL or --tempo URL"),
        (["/"], 2, "Name a file: / is a folder"),
        ([CREATE, "--id", "f" * 32], 1, "Check the id"),
        ([CREATE, "--id", "x y"], 2, "'x y' is none"),
        (["f" * 32, "--jaeger", "http://127.0.0.1:1"], 2, "nothing answers at"),
        (["f" * 32, "--jaeger", "http://a", "--tempo", "http://b"], 2, "one of them is asked"),
        (["f" * 32, "--tempo", "http://b", "--header", "token"], 2, "a colon is missing"),
        ([CREATE, "--diff", "nowhere"], 2, "Check the path: cannot read nowhere"),
    ],
)
@pytest.mark.parametrize("command", ["show", "report"])
def test_each_mistake_has_its_sentence(
    command: str, arguments: list[str], status: int, sentence: str
) -> None:
    """One line on standard error, advice first: exit 2, or 1 where there is no such trace."""
    code, output, error = invoke(command, *arguments)
    assert (code, output) == (status, "")
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "report"])
def test_mistakes_are_told_in_the_wanted_language(command: str, tmp_path: Path) -> None:
    """--lang and the locale choose it for the reason of an end, and for a remark."""
    said = invoke(command, "nowhere.jsonl", "--lang", "zh")
    assert said == (
        2,
        "",
        "otel-cinder: 请检查路径：无法读取 nowhere.jsonl（No such file or directory）。\n",
    )
    asked = ("f" * 32, "--jaeger", "http://127.0.0.1:1")
    _, _, error = invoke(command, *asked, LC_ALL="zh_CN.UTF-8")
    assert error == (
        "otel-cinder: 请启动 Jaeger，或者把它的地址给 --jaeger：http://127.0.0.1:1 没有任何程序应答。\n"
    )
    file = tmp_path / "cut.jsonl"
    file.write_text(Path(CREATE).read_text() + "{")
    assert "有 1 行被略过" in invoke(command, str(file), "--lang", "zh")[2]


def test_headers_need_not_be_on_the_command_line() -> None:
    """OTEL_CINDER_QUERY_HEADERS has them, written as OTEL_EXPORTER_OTLP_HEADERS; --header prevails."""
    asked: list[dict[str, str]] = []

    def answer(_path: str, _query: object, headers: Any) -> tuple[int, Any]:
        asked.append(dict(headers))
        return 404, {}

    variable = {"OTEL_CINDER_QUERY_HEADERS": "Authorization=Bearer%20one%3D, x-tenant = two ,"}
    with answering(answer) as url:
        arguments = ("show", "f" * 32, "--tempo", url)
        assert invoke(*arguments, **variable)[0] == 1
        assert asked[-1]["authorization"] == "Bearer one="
        assert asked[-1]["x-tenant"] == "two"
        invoke(*arguments, "--header", "X-Tenant: three", **variable)
        assert asked[-1]["x-tenant"] == "three"
        status, _, error = invoke(*arguments, OTEL_CINDER_QUERY_HEADERS="secret")
    assert status == 2
    assert "Write OTEL_CINDER_QUERY_HEADERS as name=value,name=value" in error
    assert "secret" not in error


def test_one_of_several_traces_is_chosen(tmp_path: Path) -> None:
    """All are shown in order; --id chooses; more than twenty are counted."""
    file = tmp_path / "all.jsonl"
    text = Path(CREATE).read_text() + Path(RESCHEDULE).read_text()
    file.write_text(text + '{"resourceSpans": [')
    status, output, error = invoke("show", str(file))
    assert status == 0
    assert output.count("trace ") >= 2
    assert "1 line(s)" in error
    _, output, _ = invoke("show", str(file), "--id", recorded("create").trace_id)
    assert "42 spans" not in output
    assert "22 spans" in output
    groups = []
    for number in range(25):
        span = {"traceId": f"{number + 1:032x}", "spanId": "1" * 16, "name": "x"}
        groups.append(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    file.write_text("\n".join(groups))
    _, output, error = invoke("show", str(file))
    assert output.count("trace ") == 20
    assert "has 25 traces" in error


def test_show_diff_puts_two_side_by_side() -> None:
    """--diff shows both durations, and what differs."""
    status, output, _ = invoke("show", RESCHEDULE, "--diff", CREATE)
    assert status == 0
    assert output.startswith("The same operation twice: Create a volume")
    assert "state: FAILURE, other: SUCCESS" in output
    file = io.StringIO()
    pair = (Story(recorded(name), words("zh")) for name in ("reschedule", "create"))
    draw_difference(difference_of(*pair), Console(file=file, width=60))
    assert max(map(cell_len, file.getvalue().splitlines())) <= 60


class Page(html.parser.HTMLParser):
    """A page's references and its elements that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.ids += filter(None, [given.get("id")])
        self.addresses += filter(None, (given.get(name) for name in ("href", "src")))
        if tag not in ("meta", "br", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "br", "line", "rect"):
            assert self.open.pop() == tag


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_is_whole_and_loads_nothing(name: str, language: str) -> None:
    """No scripts, nothing from elsewhere but links to Cinder's source; each bar leads to its row."""
    text = to_html([notes_of(Story(recorded(name), words(language)))])
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "img", "link", "iframe", "object"}
    assert "@import" not in text
    assert "url(" not in text
    links = {address for address in page.addresses if not address.startswith("#")}
    assert all(
        address.startswith("https://opendev.org/openstack/cinder/src/tag/") for address in links
    )
    assert {address[1:] for address in page.addresses if address.startswith("#")} == set(page.ids)
    assert len(page.ids) == len(set(page.ids)) == len(Story(recorded(name)).stages)
    assert "default-src 'none'" in text


def hostile() -> Trace:
    """A trace whose every text would like to be markup."""
    evil = '</td><script>alert("1")</script>|`*_[x](javascript:y)\n\x1b[31m&amp;'
    event = EventRecord("log", 1, {"log.message": evil, "log.level": evil, "code.file.path": evil})
    more = {"cinder.volume.type": evil, "code.function.name": evil, "code.file.path": evil}
    return Trace(
        [
            SpanRecord(
                "a" * 32,
                "b" * 16,
                None,
                evil,
                service=evil,
                resource={"service.instance.id": evil, "service.version": evil},
                attributes={**more, "taskflow.task.state": evil, "taskflow.task.provides": [evil]},
                status="error",
                status_message=evil,
                events=(event,),
            )
        ]
    )


def test_a_trace_cannot_bring_markup_in() -> None:
    """Texts of a trace are texts in HTML, Markdown and the terminal."""
    story = Story(hostile())
    page = Page(to_html([notes_of(story)], difference_of(story, story)))
    assert not page.tags & {"script"}
    assert page.open == []
    file = io.StringIO()
    draw_table(hostile(), Console(file=file, width=80))
    assert "\x1b" not in file.getvalue()
    assert escaped("a|b<c>`*_[d]") == "a\\|b&lt;c&gt;\\`\\*\\_\\[d\\]"
    assert "://" not in escaped("http://x")


def test_markdown_is_tables_and_nothing_else() -> None:
    """A real parser finds rows of two cells, and no markup that a trace has brought in."""
    story = Story(hostile())
    text = to_markdown([notes_of(story)], difference_of(story, story))
    tokens = MarkdownIt("commonmark", {"linkify": False}).enable("table").parse(text)
    rows = "".join({"tr_open": "\n", "td_open": "."}.get(token.type, "") for token in tokens)
    assert set(rows.split()) == {"..", "...."}
    inside = [child for token in tokens for child in token.children or ()]
    assert {token.type for token in inside} <= {
        *("text", "text_special", "html_inline", "strong_open", "strong_close")
    }
    assert {token.content for token in inside if token.type == "html_inline"} == {"<br>"}
    assert "<script" not in text


def random_trace(dice: random.Random) -> Trace:
    """Spans as nothing of ours would write them."""
    odd = [
        None,
        "",
        "x",
        3,
        -1.5,
        float("nan"),
        10**30,
        True,
        ["a", 1],
        {"a": "b"},
        [],
        "a.b.c",
        "|\n",
    ]
    keys = [
        *(
            "taskflow.task.state",
            "taskflow.task.name",
            "taskflow.flow.state",
            "taskflow.flow.states",
        ),
        *(
            "taskflow.task.provides",
            "taskflow.task.results",
            "code.function.name",
            "code.file.path",
        ),
        *("code.line.number", "http.request.method", "http.response.status_code", "rpc.method"),
        *("cinder.rpc.queue.duration", "cinder.schedule.attempt", "cinder.action", "error.type"),
        *("cinder.scheduler.hosts_rejected", "cinder.scheduler.filter", "log.level", "url.path"),
        *("oslo_messaging.notification.event_type", "openstack.user_id", "messaging.system"),
    ]
    names = [
        "",
        "revert X",
        "retry",
        "clean up ",
        "set  to error",
        "execute ",
        "cast /",
        "A.b",
        "POST /",
    ]
    events = ["log", "exception", "cinder.scheduler.filter", "cinder.scheduler.choice", "odd"]
    events += ["cinder.reschedule", "cinder.user_message", "cinder.resource.error"]

    def some() -> dict[str, Any]:
        return {key: dice.choice(odd) for key in dice.sample(keys, dice.randrange(9))}

    ids = [f"{number:016x}" for number in range(5)]
    return Trace(
        SpanRecord(
            "c" * 32,
            dice.choice(ids),
            dice.choice([None, *ids]),
            dice.choice(names),
            kind=dice.choice(["server", "consumer", "producer", "client", "internal", "odd"]),
            service=dice.choice(["", "cinder-api", "x"]),
            resource={"service.version": dice.choice(odd)},
            start_ns=dice.choice([0, 5, 10**20]),
            end_ns=dice.choice([0, 4, 10**20]),
            attributes=some(),
            status=dice.choice(["unset", "error"]),
            events=tuple(EventRecord(dice.choice(events), 1, some()) for _ in range(2)),
        )
        for _ in range(dice.randrange(5))
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_odd_data_is_shown_too(language: str) -> None:
    """Whatever the spans say, every format tells something and nothing raises."""
    dice = random.Random(11)
    for _ in range(150):
        one, other = (Story(random_trace(dice), words(language)) for _ in range(2))
        difference = difference_of(one, other)
        notes = [notes_of(one), notes_of(other)]
        assert Page(to_html(notes, difference)).open == []
        assert to_markdown(notes, difference)
        file = io.StringIO()
        console = Console(file=file, width=dice.choice([10, 80]))
        draw_table(one.trace, console, one.words)
        draw_difference(difference, console)
        draw(one.trace, console, one.words)
        assert "\x1b" not in file.getvalue()


TERMINAL = """
import os, pty, struct, fcntl, sys, termios
columns, *command = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    import time
    while os.get_terminal_size(0).columns != int(columns):
        time.sleep(0.01)
    os.execv(command[0], command)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, int(columns), 0, 0))
try:
    while data := os.read(terminal, 65536):
        sys.stdout.buffer.write(data)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def in_a_terminal(columns: int, *arguments: str, **environment: str) -> str:
    """The output on a real terminal of this width."""
    run = "from otel_cinder.cli import main; main()"
    command = [sys.executable, "-c", TERMINAL, str(columns), sys.executable, "-c", run, *arguments]
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    env = {**kept, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
    output = subprocess.run(command, env=env, capture_output=True, check=True, timeout=120).stdout
    return output.decode().replace("\r\n", "\n")


def test_a_real_terminal_gets_its_own_width_and_colours() -> None:
    """As wide as the terminal, in colours, which NO_COLOR takes away."""
    text = in_a_terminal(70, "show", RESCHEDULE, "--lang", "zh")
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(cell_len, plain.splitlines())) == 70
    colours = re.compile(r"\x1b\[(?:\d+;)*[39]\d(?:;\d+)*m")
    assert colours.search(text)
    assert not colours.search(in_a_terminal(70, "show", RESCHEDULE, NO_COLOR="1"))
    table = in_a_terminal(100, "show", CREATE, "--format", "table", TERM="dumb")
    assert max(map(cell_len, table.splitlines())) <= 100
    assert "\x1b" not in table


def test_a_terminal_without_chinese_letters_gets_english(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The locale's Chinese becomes English there; a wanted one is refused with advice."""
    assert told_in(None, "utf-8").language in ("en", "zh")
    assert told_in("zh", "gb18030").language == "zh"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "zh_CN")
        assert told_in(None, "ascii").language == "en"
    with pytest.raises(SystemExit):
        told_in("zh", "ascii")
    assert "Choose a UTF-8 locale, or --lang en" in capsys.readouterr().err


def test_reports_are_written_as_their_names_say(tmp_path: Path) -> None:
    """HTML for .html, Markdown for .md and for standard output; both languages, and --diff."""
    page, notes = tmp_path / "a.html", tmp_path / "a.md"
    for file in (page, notes):
        assert invoke("report", RESCHEDULE, "-o", str(file), "--lang", "zh")[0] == 0
    assert page.read_text(encoding="utf-8").startswith('<!DOCTYPE html>\n<html lang="zh-Hans">')
    text = notes.read_text(encoding="utf-8")
    assert text.startswith("# 创建卷\n")
    assert "**撤销：调用驱动创建卷**" in text
    _, output, _ = invoke("report", CREATE)
    assert output.startswith("# Create a volume\n")
    assert output.count("\n| ") == 24 + 2
    assert "](https://opendev.org/openstack/cinder/src/tag/29." in output
    _, output, _ = invoke("report", RESCHEDULE, "--diff", CREATE, "--format", "html")
    assert "The same operation twice: Create a volume" in output
    assert output.count("<article>") == 3


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """A sentence, and exit 2."""
    status, _, error = invoke("report", CREATE, "-o", str(tmp_path / "no" / "a.html"))
    assert status == 2
    assert "Choose another --output" in error


def test_labels_of_the_timeline_are_cut_to_their_room() -> None:
    """A wide character takes twice the room."""
    assert cut("abc", 100) == "abc"
    assert cut("a" * 50, 66) == "a" * 9 + "…"
    assert cut("卷" * 50, 66) == "卷" * 4 + "…"


def test_it_reads_standard_input() -> None:
    """`-` is standard input."""
    result = runner().invoke(cli, ["show", "-"], input=Path(CREATE).read_bytes(), env=ENGLISH)
    assert result.exit_code == 0
    assert "22 spans" in result.stdout
