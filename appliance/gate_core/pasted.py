"""Reads the acceptable-use table out of a pasted policy document, and says what it understood of it.

Nothing is changed here: a person sees each row, how sure the reading is and why, before anything is proposed.

Where a mark stands is simple in HTML and in pipe tables: every line has a cell for every column. Text with tabs does
not have that: where a cell spans columns or rows, word processors write one tab or several, and end lines with too
many or too few, so that counting tabs misleads. What is read then:

1. The *activity* of a row is its last cell with words left of the heading's columns; else its first cell with words.
2. There are two readings. By its *own cell*: the activity counts as the cell next to the first column, and each mark
   by its distance from the activity. By the *heading*: each mark by the heading that has as many tabs before it.
   They differ only for rows that begin further left than the column next to the first heading.
3. Rows that begin at the same place were written alike, so they are judged together: a reading that puts the mark of
   any of them under no heading is wrong for all of them. Where both could be, lines that have fewer cells than the
   heading, and an empty one at their end, show that cells were merged: own cell.
4. Where that leaves two readings, or a row has several marks, the strictest column is proposed and the row is not sure;
   nor is it where its line has lost cells, or was broken and put together again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import Final

from gate_core.acceptable_use import ILLEGAL_ROWS, ROWS, STRICTNESS, Cell

MAX_CHARS: Final = 1_000_000
MAX_ROWS: Final = 500
MAX_TEXT: Final = 500
"""Characters of an activity or a sentence that are kept."""

_MAX_CELLS: Final = 64
_MAX_HEADING_CHARS: Final = 60
_MAX_HEADING_LINES: Final = 8
_MAX_HEADINGS: Final = 1000
"""Lines that are tried; more than any document has with the name of a column in a cell of its own."""

_MAX_BROKEN_LINES: Final = 20
_MAX_UNMATCHED: Final = 20

_COLUMNS: Final = {
    Cell.ACCEPTABLE: "acceptable",
    Cell.TIMES: "acceptable at certain times",
    Cell.NOMINATED: "acceptable for nominated users",
    Cell.UNACCEPTABLE: "unacceptable",
    Cell.ILLEGAL: "unacceptable and illegal",
}
_EXPECTED: Final = f"expected is a table with the columns {', '.join(_COLUMNS.values())}, pasted with its heading line"

KEYWORDS: Final[Mapping[str, re.Pattern[str]]] = {
    id_: re.compile(pattern)
    for id_, pattern in (
        ("child-abuse", r"child\w* (?:sex\w* )?abuse|sex\w* abuse|indecent images?|csam"),
        ("grooming", r"groom|sex\w* acts? (?:against|with|on|involving) (?:a )?(?:child|minor)"),
        ("extreme-pornography", r"extreme porn"),
        ("criminal-hatred", r"criminal\w* racis|hatred|hate crime|terror|extremis|radicali"),
        ("pornography", r"porn|nudity|sexually explicit|adult (?:material|content|site)"),
        ("discrimination", r"discriminat|racis|sexis|homophob|hate speech"),
        ("violence", r"violen|threat|mental harm|self harm|suicid|weapon|bully"),
        ("ethos", r"ethos|offensive|offend|disrepute|inappropriate (?:material|content|site)"),
        (
            "private-business",
            r"private (?:business|purpose)|own business|(?:financial|personal|commercial) gain|advertis",
        ),
        (
            "bypass",
            r"by ?pass|circumvent|(?:get|got)\w* (?:a)?round|safeguards|\bvpns?\b|\bprox(?:y|ies)\b",
        ),
        ("copyright", r"copyright|pirat|intellectual property"),
        (
            "confidential",
            r"confidential|proprietary|password|personal (?:information|data|details)",
        ),
        ("malware", r"virus|malware|spyware|harmful files?|\bhack"),
        ("unfair-usage", r"unfair|hinder|bandwidth|large (?:files?|downloads?|transfers?)"),
        (
            "games-educational",
            r"^(?!.*\b(?:non|not)\b)(?=.*\b(?:educat|learning))(?=.*\bgam(?:e|es|ing)\b)",
        ),
        ("games", r"\bgam(?:e|es|ing)\b"),
        ("gambling", r"gambl|betting|lotter|casino"),
        ("shopping", r"shopping|commerce|\bauctions?\b"),
        ("file-sharing", r"file ?sharing|sharing (?:of )?files|peer to peer|\bp2p\b|torrent"),
        ("social-media", r"social (?:media|network)|facebook|instagram|tiktok|snapchat"),
        ("messaging", r"messag|\bchat|whatsapp"),
        ("video", r"\bvideo|youtube|broadcast"),
    )
}
"""Row id to what tells it, in lower case with one blank for all that is no letter or digit; the first that fits wins."""

_MARKS: Final = frozenset("x\N{MULTIPLICATION SIGN}✓✔✗✘✕✖√☑☒*•●yü\uf0fc\uf0fb") | {"yes"}
"""In lower case; ü and what follows are the ticks and the cross of a symbol font that did not come along."""

_NO_MARKS: Final = frozenset(("", "-", "\N{EN DASH}", "\N{EM DASH}", "n", "no", "n/a", "☐"))

# Controls, soft hyphen, bidi and zero-width characters, halves of surrogate pairs: none may reach a page or a record.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_LIST_BULLET: Final = re.compile(r"^ *[•·▪‣◦]\t")
_BULLETS: Final = "•·▪‣◦*- "
_PIPE_RULE: Final = re.compile(r"[\s|:-]*")


class NotATableError(ValueError):
    """A text in which nothing was found, or too much; the message tells what is expected."""


@dataclass(frozen=True, slots=True)
class ReadRow:
    """One row or one sentence as it was understood."""

    line: int
    """Line of the text, from 1; of HTML, the row of the table or the paragraph."""
    text: str
    """The activity in the document's words, at most ``MAX_TEXT`` characters, none of them invisible."""
    cell: Cell | None
    """None where no column could be told."""
    row: str | None
    """Id of the row of ``ROWS`` it speaks of, each at most once; None for one that is the school's own."""
    sure: bool
    note: str
    """What a person should look at; "" where there is nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of a pasted text."""

    rows: tuple[ReadRow, ...]
    notes: tuple[str, ...]
    """Sentences about the text as a whole."""


def read_table(text: str) -> Reading:
    """Read the acceptable-use table in ``text``; without one, the sentences that forbid something.

    Args:
        text: Lines with tabs, HTML, or lines with pipes; at most ``MAX_CHARS`` characters. There may be other text
            before and after the table; of several tables, the one with the most of the five columns is read.

    Raises:
        NotATableError: There is no such table and no such sentence, or the text or the table is too long.
    """
    if len(text) > MAX_CHARS:
        raise NotATableError(
            f"the text has {len(text)} characters; at most {MAX_CHARS} are read: paste the table alone"
        )
    tables = [
        (heading, grid) for grid in _grids(text) if (heading := _find_heading(grid)) is not None
    ]
    if not tables:
        return _read_prose(text)
    heading, grid = max(tables, key=lambda found: found[0].kinds)
    rows = list(_read_rows(_lines_below(heading, grid), heading, exact=grid.exact))
    if not rows:
        raise NotATableError(
            f"the heading ends in line {heading.line} and no row follows it; {_EXPECTED}"
        )
    return Reading(tuple(rows), (*_notes_on_heading(heading), *_notes_on_rows(rows)))


# Tables of cells.


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    cells: tuple[str, ...]
    broken: bool = False
    """Whether it was put together from several lines."""


@dataclass(frozen=True, slots=True)
class _Grid:
    lines: Sequence[_Line]
    exact: bool
    """Whether a line has one cell for each column; text with tabs does not say."""


def _grids(text: str) -> list[_Grid]:
    if re.search(r"<t[rdh]\b", text, re.IGNORECASE):
        return _html_grids(text)
    tabs, pipes = [], []
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if line.lstrip().startswith("|"):
            if not _PIPE_RULE.fullmatch(line):
                pipes.append(_Line(number, _cells(line.strip().strip("|").split("|", _MAX_CELLS))))
        elif line.strip():
            tabs.append(
                _Line(number, _cells(_LIST_BULLET.sub("", line, 1).split("\t", _MAX_CELLS)))
            )
    return [_Grid(tabs, exact=False), _Grid(pipes, exact=True)]


def _cells(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(_clean(text) for text in texts)


def _clean(text: str) -> str:
    return " ".join(_UNSEEN.sub("", text).split()).strip('"')


# Python's own html.parser takes time by the square of the text (145 s for 120 kB of "<a ", Python 3.11) and raises
# AssertionError for some declarations. Tags are therefore cut out by patterns that look at each character once.
_TAG: Final = re.compile(r"<([^<>]*)>")
_TAG_NAME: Final = re.compile(r"/?[a-z][a-z0-9]*", re.IGNORECASE)
_SPAN: Final = re.compile(r"\b(col|row)span\s?=\s?[\"']?\s?(\d{1,9})", re.IGNORECASE)
_LONG_NUMBER: Final = re.compile(r"&#x?[0-9a-f]{9,};?", re.IGNORECASE)
_BREAKS: Final = frozenset(
    ("br", "p", "/p", "div", "/div", "li", "/li", "h1", "h2", "h3", "h4", "tr", "td", "th")
)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield the tags of an HTML text, each with its attributes, and between them "" with a piece of plain text."""
    for opening, closing in (("<!--", "-->"), ("<style", "</style>"), ("<script", "</script>")):
        text = _without(text, opening, closing)
    for place, piece in enumerate(_TAG.split(text)):
        if place % 2 == 0:
            # More digits than Python would turn into a number.
            yield "", html.unescape(_LONG_NUMBER.sub("", piece))
        elif name := _TAG_NAME.match(piece):
            yield name[0].lower(), piece


def _without(text: str, opening: str, closing: str) -> str:
    first, *rest = re.split(opening, text, flags=re.IGNORECASE)
    ends = re.compile(closing, re.IGNORECASE)
    return first + "".join(part[end.end() :] for part in rest if (end := ends.search(part)))


class _Table:
    """An HTML table while it is read: what spans columns or rows is repeated in each of them."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self._row: list[tuple[list[str], int, int]] = []
        """Pieces of text, columns and rows of each cell."""
        self._held: dict[int, tuple[str, int]] = {}
        """Column to the text that goes on there, and for how many rows."""
        self._open = False

    def take(self, tag: str, piece: str) -> None:
        match tag:
            case "tr" | "/tr":
                self.end_row()
            case "td" | "th":
                self._begin_cell(piece)
            case "/td" | "/th":
                self._open = False
            case _ if self._open and (not tag or tag in _BREAKS):
                self._row[-1][0].append(" " if tag else piece)

    def _begin_cell(self, attributes: str) -> None:
        spans = {kind.lower(): int(count) for kind, count in _SPAN.findall(attributes)}
        columns = min(max(spans.get("col", 1), 1), _MAX_CELLS)
        self._row.append(([], columns, min(max(spans.get("row", 1), 1), MAX_ROWS)))
        self._open = True

    def end_row(self) -> None:
        self._open = False
        if not self._row:
            return
        line: list[str] = []
        held, self._held = self._held, {}

        def put(text: str, rows: int) -> None:
            if len(line) < _MAX_CELLS:
                if rows > 1:
                    self._held[len(line)] = text, rows - 1
                line.append(text)

        for pieces, columns, rows in self._row:
            while len(line) in held:
                put(*held.pop(len(line)))
            text = _clean("".join(pieces))
            for _ in range(columns):
                put(text, rows)
        for column in sorted(held):
            if column >= len(line):
                line += [""] * (column - len(line))
                put(*held[column])
        self._row = []
        self.lines.append(_Line(len(self.lines) + 1, tuple(line)))


def _html_grids(text: str) -> list[_Grid]:
    done: list[_Table] = []
    within = [_Table()]  # rows that were copied without their table
    for tag, piece in _pieces(text):
        if tag == "table":
            within.append(_Table())
        elif tag == "/table" and len(within) > 1:
            done.append(within.pop())
        else:
            within[-1].take(tag, piece)
    tables = [*done, *within]
    for table in tables:
        table.end_row()
    return [_Grid(table.lines, exact=True) for table in tables]


# The heading.


@dataclass(frozen=True, slots=True)
class _Heading:
    columns: Mapping[int, Cell]
    """Place of a cell to the column it names."""
    size: int
    """How many cells the heading has."""
    below: int
    """Place in the grid of the first line below it."""
    line: int

    @property
    def kinds(self) -> int:
        return len(set(self.columns.values()))

    @property
    def first(self) -> int:
        return min(self.columns)

    @property
    def last(self) -> int:
        return max(self.columns)


def _find_heading(grid: _Grid) -> _Heading | None:
    """Return the first heading with the most of the five columns, at least three of them."""
    best: _Heading | None = None
    begins = (place for place, line in enumerate(grid.lines) if _columns(line.cells))
    for place in islice(begins, _MAX_HEADINGS):
        cells = grid.lines[place].cells
        # In text with tabs a heading is broken where a cell of it holds several lines.
        ends = range(place, min(place + (1 if grid.exact else _MAX_HEADING_LINES), len(grid.lines)))
        for end in ends:
            if end > place:
                cells = _continued(cells, grid.lines[end].cells)
            if not (columns := _columns(cells)):
                break
            heading = _Heading(columns, len(cells), end + 1, grid.lines[end].number)
            if best is None or heading.kinds > best.kinds:
                best = heading
            if best.kinds == len(Cell):
                return best
    return best if best is not None and best.kinds >= 3 else None


def _continued(cells: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the cells of a line that was broken inside a cell, put together again."""
    return (*cells[:-1], f"{cells[-1]} {more[0]}".strip(), *more[1:])[:_MAX_CELLS]


def _columns(cells: tuple[str, ...]) -> dict[int, Cell]:
    named = {text: _column(text) for text in set(cells)}
    return {place: cell for place, text in enumerate(cells) if (cell := named[text]) is not None}


_PLAIN: Final = re.compile(
    r"(?:always )?(?:acceptable|allowed|permitted)(?: (?:for|to) (?:all|everyone)(?: users)?)?"
)
_YES: Final = re.compile(r"\b(?:acceptable|allowed|permitted)\b")
_NO: Final = re.compile(
    r"\b(?:un|not |non |never )(?:acceptable|allowed|permitted)\b|\b(?:forbidden|prohibited|banned)\b"
)
_ILLEGAL: Final = re.compile(r"\b(?:illegal|unlawful|criminal)\b")
_NOMINATED: Final = re.compile(r"\b(?:nominated|named|selected|users?|staff|people|pupils)\b")
_TIMES: Final = re.compile(r"\b(?:times?|sometimes|hours)\b")


def _column(text: str) -> Cell | None:
    """Return the column that a heading names; None for all other text."""
    if not text or len(text) > _MAX_HEADING_CHARS:
        return None
    words = _normalised(text)
    if _PLAIN.fullmatch(words):
        return Cell.ACCEPTABLE
    allows = _YES.search(_NO.sub("", words))
    if _ILLEGAL.search(words):
        column = Cell.ILLEGAL
    elif _NO.search(words):
        column = Cell.UNACCEPTABLE
    elif _NOMINATED.search(words):
        return Cell.NOMINATED if allows else None
    else:
        return Cell.TIMES if allows and _TIMES.search(words) else None
    # "Acceptable and unacceptable uses" is what a table is called, not a column of it.
    return None if allows else column


def _normalised(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


# The rows.


def _lines_below(heading: _Heading, grid: _Grid) -> list[_Line]:
    """Return the rows of the table, each in one line; what follows the last of them is left out.

    Raises:
        NotATableError: There are more than ``MAX_ROWS``.
    """
    rows: list[_Line] = []
    begun: list[_Line] = []
    end = 0
    for line in grid.lines[heading.below :]:
        if _columns(line.cells) == heading.columns:
            continue  # the heading again, on a new page
        if _heads_another(line, heading) or len(begun) > _MAX_BROKEN_LINES:
            break
        if not line.cells[0]:
            # A line that was broken inside a cell does not go on with an empty one.
            rows += begun
            begun = []
        begun.append(line)
        if grid.exact or _is_whole(line, heading):
            rows.append(_put_together(begun))
            begun = []
            end = len(rows)
        if len(rows) > MAX_ROWS:
            raise NotATableError(f"the table has more than {MAX_ROWS} rows; paste fewer at a time")
    return rows[:end]


def _heads_another(line: _Line, heading: _Heading) -> bool:
    """Tell whether ``line`` has words where this table has marks: the heading of the next table."""
    cells = {line.cells[place] for place in heading.columns if place < len(line.cells)}
    return sum(_has_words(cell) for cell in cells) >= 3


def _is_whole(line: _Line, heading: _Heading) -> bool:
    rest = line.cells[1:]
    return bool(rest) and (
        not rest[-1] or len(line.cells) >= heading.size or any(_is_mark(cell) for cell in rest)
    )


def _put_together(lines: Sequence[_Line]) -> _Line:
    cells = lines[0].cells
    for line in lines[1:]:
        cells = _continued(cells, line.cells)
    return _Line(lines[0].number, cells, broken=len(lines) > 1)


def _is_mark(cell: str) -> bool:
    return cell.lower().strip(".()[]") in _MARKS


def _has_words(cell: str) -> bool:
    return (
        cell.lower() not in _NO_MARKS
        and not _is_mark(cell)
        and any(character.isalpha() for character in cell)
    )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A row with the place of its activity and of its marks."""

    line: _Line
    activity: int
    """Where no cell has words, the place left of the first column."""
    marks: tuple[int, ...]

    @property
    def text(self) -> str:
        cells = self.line.cells
        return cells[self.activity][:MAX_TEXT] if 0 <= self.activity < len(cells) else ""


def _place(line: _Line, following: _Line | None, heading: _Heading) -> _Placed | None:
    words = [place for place, cell in enumerate(line.cells) if _has_words(cell)]
    marks = [place for place, cell in enumerate(line.cells) if _is_mark(cell)]
    if not words and not marks:
        return None
    left = [place for place in words if place < heading.first]
    activity = left[-1] if left else words[0] if words else heading.first - 1
    # A cell that spans rows stands in the first of them; in the next, its place is empty and the activity behind it.
    if heading.first in words and following is not None:
        behind = [place for place, cell in enumerate(following.cells) if _has_words(cell)]
        if behind and behind[0] == heading.first:
            activity = heading.first
    if activity < heading.last:
        marks = [place for place in marks if place > activity]
    return _Placed(line, activity, tuple(marks))


def _read_rows(lines: Sequence[_Line], heading: _Heading, *, exact: bool) -> Iterator[ReadRow]:
    rows = [
        row
        for line, following in zip_longest(lines, lines[1:])
        if (row := _place(line, following, heading)) is not None
    ]
    shifts = {
        activity: _shifts([row for row in rows if row.activity == activity], heading, exact=exact)
        for activity in {row.activity for row in rows}
    }
    taken: dict[str, int] = {}
    for row in rows:
        read = _read_row(row, shifts[row.activity], heading, exact=exact)
        yield _matched(read, taken)


def _shifts(rows: Sequence[_Placed], heading: _Heading, *, exact: bool) -> tuple[int, ...]:
    """Return by how much the marks of rows that begin at one place are to be moved: the readings that can be right."""
    by_heading, by_own_cell = 0, heading.first - 1 - rows[0].activity
    if rows[0].activity > heading.last or by_own_cell == 0:
        return (by_heading,)
    if by_own_cell < 0:  # the activity stands where the heading has its columns
        return (by_own_cell,)

    def fits(shift: int) -> bool:
        return all(mark + shift in heading.columns for row in rows for mark in row.marks)

    if fits(by_heading) and (exact or not fits(by_own_cell)):
        return (by_heading,)
    merged = any(len(row.line.cells) < heading.size and not row.line.cells[-1] for row in rows)
    if fits(by_own_cell) and (merged or not fits(by_heading)):
        return (by_own_cell,)
    return (by_own_cell, by_heading)


def _read_row(row: _Placed, shifts: tuple[int, ...], heading: _Heading, *, exact: bool) -> ReadRow:
    readings = [[heading.columns.get(mark + shift) for mark in row.marks] for shift in shifts]
    found = {cell for cells in readings if None not in cells for cell in cells if cell is not None}
    notes = []
    if not _has_words(row.text):
        notes.append("no words beside the mark")
    if not row.marks:
        notes.append("no mark in this row")
    elif not found:
        notes.append("the mark stands under none of the five headings")
    elif len(found) > 1:
        several = "marks in several columns" if len(row.marks) > 1 else "the mark could be under"
        names = " or ".join(_COLUMNS[cell] for cell in sorted(found, key=STRICTNESS.__getitem__))
        notes.append(f"{several}: {names}; the strictest is proposed")
    elif len(shifts) > 1:
        notes.append("the rows contradict each other on how their marks are to be counted")
    if not exact and not _has_all_cells(row, heading):
        notes.append("the line has more or fewer cells than the others, so the mark may have moved")
    if row.line.broken:
        notes.append("put together from several lines")
    cell = max(found, key=STRICTNESS.__getitem__, default=None)
    return ReadRow(row.line.number, row.text, cell, None, not notes, "; ".join(notes))


def _has_all_cells(row: _Placed, heading: _Heading) -> bool:
    """Tell whether the line has a cell for each column, or ends with its last mark."""
    cells = row.line.cells
    if row.activity > heading.last:
        return True
    behind = len(cells) - 1 - row.activity
    needed = heading.last - heading.first + 1
    return needed <= behind <= max(needed, heading.size - 1 - row.activity) or (
        behind < needed and cells[-1] != ""
    )


# What the rows speak of.

_TITLES: Final = {row.id: row.title for row in ROWS}


def _named(text: str) -> Iterator[str]:
    words = _normalised(text)
    return (id_ for id_, pattern in KEYWORDS.items() if pattern.search(words))


def _matched(read: ReadRow, taken: dict[str, int]) -> ReadRow:
    """Return ``read`` with the row of ``ROWS`` it speaks of, and enter that into ``taken`` with its line."""
    notes = [read.note] if read.note else []
    id_ = next(_named(read.text), None)
    if id_ is not None and id_ in taken:
        notes.append(f"like line {taken[id_]}, it speaks of {_TITLES[id_]!r}")
        return replace(read, sure=False, note="; ".join(notes))
    if id_ is None:
        return read
    taken[id_] = read.line
    if id_ in ILLEGAL_ROWS and read.cell is not Cell.ILLEGAL:
        notes.append("stays unacceptable and illegal, whatever the document says")
    return replace(read, row=id_, note="; ".join(notes))


def _notes_on_heading(heading: _Heading) -> Iterator[str]:
    missing = [title for cell, title in _COLUMNS.items() if cell not in heading.columns.values()]
    if missing:
        yield f"The table has no column {' and no column '.join(missing)}."
    places = sorted(heading.columns)
    begun = [
        heading.columns[place]
        for place in places
        if heading.columns.get(place - 1) is not heading.columns[place]
    ]
    twice = [title for cell, title in _COLUMNS.items() if begun.count(cell) > 1]
    if twice:
        yield f"The heading names twice: {', '.join(twice)}. Paste the columns of one group of people at a time."


def _notes_on_rows(rows: Iterable[ReadRow]) -> Iterator[str]:
    found = {row.row for row in rows}
    left = [row.title for row in ROWS if row.id not in found]
    if left:
        yield f"Not in the document, and therefore left as they are: {'; '.join(left)}."


# Policies without a table.

_FORBIDS: Final = re.compile(
    r"\bnot (?:be )?(?:permitted|allowed|acceptable)\b|\bmust (?:not|never)\b|\bshall not\b|\bmay not (?:be used|use)\b"
    r"|\b(?:unacceptable|banned|forbidden|prohibited)\b"
)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?;])\s+")


def _read_prose(text: str) -> Reading:
    rows: list[ReadRow] = []
    unmatched = 0
    taken: set[str] = set()
    for number, line in enumerate(_LINE_END.split(_plain(text)), start=1):
        for sentence in _SENTENCE_END.split(line):
            words = _clean(sentence).lstrip(_BULLETS)[:MAX_TEXT]
            if not _FORBIDS.search(_normalised(words)):
                continue
            named = list(_named(words))
            rows += [_forbidden(number, words, id_) for id_ in named if id_ not in taken]
            taken.update(named)
            if not named:
                unmatched += 1
                if unmatched <= _MAX_UNMATCHED:
                    note = "a sentence that forbids something, but none of the rows known"
                    rows.append(ReadRow(number, words, None, None, sure=False, note=note))
    if not rows:
        raise NotATableError(
            f"no table and no sentence that forbids something was found; {_EXPECTED}"
        )
    notes = [
        "No table with these columns was found; sentences that forbid something were read instead."
    ]
    if unmatched > _MAX_UNMATCHED:
        notes.append(
            f"{unmatched - _MAX_UNMATCHED} more sentences forbid something that is none of the rows."
        )
    return Reading(tuple(rows), (*notes, *_notes_on_rows(rows)))


def _forbidden(line: int, text: str, id_: str) -> ReadRow:
    cell = Cell.ILLEGAL if id_ in ILLEGAL_ROWS else Cell.UNACCEPTABLE
    return ReadRow(line, text, cell, id_, sure=False, note="read from a sentence, not from a table")


def _plain(text: str) -> str:
    """Return ``text`` without the tags it may have."""
    if not re.search(r"<(?:html|body|p|div|span|li|td)\b", text, re.IGNORECASE):
        return text
    return "".join(
        re.sub(r"\s+", " ", piece) if not tag else "\n" * (tag in _BREAKS)
        for tag, piece in _pieces(text)
    )
