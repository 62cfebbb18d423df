#!/usr/bin/env python3
"""Checks all Markdown of the project: check-docs.py [BINARY] [--root DIR]

Links, anchors, images, the paths and commands that are named, the length of lines and of the
README, and that no sentence stands twice. BINARY, target/release/dqn-scaler unless given, tells
which subcommands and flags there are; without it they are not checked. Each fault is a line
FILE:LINE: MESSAGE, and any fault makes it fail.
"""

import argparse
import glob
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from collections import namedtuple

COLUMNS = 100
README_LINES = 150
# A shorter sentence may stand twice by chance.
SENTENCE = 60
# What tools and builds leave behind is no part of the project, nor are hidden folders but for some.
LEFT_OUT = {"node_modules", "target"}
HIDDEN = {".cargo", ".ci", ".github"}
# A name with one of these endings is a file of the project, wherever it is.
SOURCES = (".rs", ".py", ".sh", ".md", ".js", ".toml", ".svg")
# Flags of other programs that the documents name by themselves.
FLAGS_OF_OTHERS = {"--validate"}
EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)

Span = namedtuple("Span", "line text")


def is_left_out(folder):
    return folder in LEFT_OUT or (folder[:1] == "." and folder not in HIDDEN)


def files(root):
    """Every file of the project, relative to its root."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_left_out(name))
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), root)


class Document:
    """A Markdown file, taken apart as far as the checks need it."""

    def __init__(self, root, name):
        self.name = name
        self.folder = os.path.dirname(name)
        with open(os.path.join(root, name), encoding="utf-8") as file:
            self.lines = file.read().split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.code = []  # lines of fenced code
        self.prose = []  # all others
        self._part()

    def _part(self):
        fence = None
        for number, line in enumerate(self.lines, 1):
            mark = re.match(r"\s*(```+|~~~+)", line)
            if fence is None and mark:
                fence = mark[1]
            elif fence and line.strip().startswith(fence):
                fence = None
            elif fence:
                self.code.append(Span(number, line))
            else:
                self.prose.append(Span(number, line))

    def spans(self):
        """Inline code."""
        for number, line in self.prose:
            for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
                yield Span(number, span)

    def links(self):
        """The targets of links and images."""
        for number, line in self.prose:
            bare = re.sub(r"`[^`]*`", "", line)
            for target in re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", bare):
                yield Span(number, target)
            for target in re.findall(r"^\s*\[[^\]]+\]:\s*(\S+)", bare):
                yield Span(number, target)

    def anchors(self):
        """As code hosts make them of headings."""
        found = {}
        for _, line in self.prose:
            heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
            if not heading:
                continue
            text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            kept = "".join(c for c in text if c in " -_" or unicodedata.category(c)[0] in "LN")
            anchor = kept.replace(" ", "-")
            count = found.get(anchor)
            found[anchor] = 0 if count is None else count + 1
            yield anchor if count is None else f"{anchor}-{count + 1}"

    def texts(self):
        """Paragraphs, items of lists and cells of tables, each as pieces of one line."""
        pieces = []
        for number, line in self.prose + [Span(0, "")]:
            stripped = line.strip()
            begins = re.match(r"([-*+]|\d+\.)\s+|>\s?|#{1,6}\s+", stripped)
            table = stripped.startswith("|")
            if (not stripped or begins or table) and pieces:
                yield pieces
                pieces = []
            if table:
                for cell in stripped.strip("|").split("|"):
                    yield [Span(number, cell.strip())]
            elif begins and stripped.startswith("#"):
                continue
            elif stripped:
                pieces.append(Span(number, stripped[begins.end() :] if begins else stripped))

    def sentences(self):
        for pieces in self.texts():
            text, starts = "", []
            for number, piece in pieces:
                starts.append((len(text), number))
                text += piece + " "
            for match in re.finditer(r"\S.*?(?:[.!?:](?=\s)|$)", text.rstrip()):
                line = next(number for at, number in reversed(starts) if at <= match.start())
                yield Span(line, match[0])


class Checker:
    def __init__(self, root, binary):
        self.root, self.binary = root, binary
        self.files = list(files(root))
        self.names = {os.path.basename(name) for name in self.files}
        self.top = {name.split(os.sep)[0] for name in self.files}
        self.documents = {name: Document(root, name) for name in self.files if name.endswith(".md")}
        self.faults = []

    def fault(self, document, line, message):
        self.faults.append((document.name, line, message))

    def run(self):
        commands = Commands.of(self.binary)
        targets, variables = make_targets(self.root), self.variables()
        for document in self.documents.values():
            self.check_lines(document)
            self.check_links(document)
            self.check_paths(document)
            self.check_variables(document, variables)
            self.check_make(document, targets)
            self.check_cargo(document)
            if commands:
                self.check_commands(document, commands)
        self.check_readme()
        self.check_index()
        self.check_images()
        self.check_sentences()
        return commands is not None

    # --- how it is written --------------------------------------------------------------------

    def check_lines(self, document):
        for number, line in document.prose:
            # What cannot be broken: tables, and the targets of links.
            shown = re.sub(r"\]\([^)]*\)", "]", re.sub(r"<!--.*?-->", "", line))
            if not line.lstrip().startswith("|") and len(shown) > COLUMNS:
                self.fault(document, number, f"{len(shown)} columns, at most {COLUMNS} are allowed")
        columns = None
        for number, line in document.prose:
            if not line.startswith("|"):
                columns = None
                continue
            cells = len(re.findall(r"(?<!\\)\|", line)) - 1
            columns = columns or cells
            if cells != columns:
                self.fault(document, number, f"{cells} cells in a table of {columns} columns")
        for number, line in enumerate(document.lines, 1):
            if line != line.rstrip():
                self.fault(document, number, "blanks at the end of the line")

    def check_readme(self):
        readme = self.documents.get("README.md")
        if readme and len(readme.lines) > README_LINES:
            message = f"{len(readme.lines)} lines, at most {README_LINES} are allowed"
            self.fault(readme, README_LINES + 1, message)

    def check_sentences(self):
        seen = {}
        for document in self.documents.values():
            for line, sentence in document.sentences():
                text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", sentence)
                text = re.sub(r"\s+", " ", re.sub(r"[`*]|<!--.*?-->", "", text)).strip().lower()
                if len(text) <= SENTENCE:
                    continue
                first = seen.setdefault(text, (document, line))
                if first != (document, line):
                    at = f"{first[0].name}:{first[1]}"
                    self.fault(document, line, f"stands in {at} too: {text[:60]}…")

    # --- what it points at ---------------------------------------------------------------------

    def check_links(self, document):
        for line, target in document.links():
            if EXTERNAL.match(target):
                continue
            path, _, anchor = target.partition("#")
            name = os.path.normpath(os.path.join(document.folder, path)) if path else document.name
            if not self.exists(name):
                self.fault(document, line, f"link to {target}: there is no {name}")
            elif anchor:
                linked = self.documents.get(name)
                if linked is None or anchor not in linked.anchors():
                    self.fault(document, line, f"link to {target}: {name} has no such heading")

    def check_index(self):
        index = self.documents.get(os.path.join("docs", "README.md"))
        if index is None:
            return
        linked = {
            os.path.normpath(os.path.join("docs", target.partition("#")[0]))
            for _, target in index.links()
        }
        for name, document in self.documents.items():
            if name.startswith("docs" + os.sep) and document is not index and name not in linked:
                self.fault(document, 1, f"{index.name} does not link to it")

    def check_images(self):
        linked = {
            os.path.normpath(os.path.join(document.folder, target))
            for document in self.documents.values()
            for _, target in document.links()
        }
        index = self.documents.get(os.path.join("docs", "README.md"))
        for name in self.files:
            is_image = name.endswith((".png", ".svg", ".jpg", ".gif"))
            if index and is_image and name.startswith("docs" + os.sep) and name not in linked:
                self.fault(index, 1, f"no document shows {name}")

    def check_paths(self, document):
        for line, text in document.spans():
            if " " not in text:
                self.check_path(document, line, text, True)
        for line, text in document.code:
            for word in re.split(r"[\s\"'`=,;()\[\]{}<>]+", text):
                self.check_path(document, line, word, False)

    def check_path(self, document, line, word, named):
        """A word that can only be meant as a path of the project has to be one."""
        word = word.rstrip(".:…")
        if not re.fullmatch(r"[\w.@*-]+(/[\w.@*-]+)*/?", word):
            return
        first, deeper = word.split("/")[0], "/" in word.rstrip("/")
        if deeper and is_left_out(first):
            return
        if deeper and first in self.top:
            if not self.exists(word):
                self.fault(document, line, f"there is no {word}")
        elif not deeper and named and word.endswith(SOURCES) and word not in self.names:
            self.fault(document, line, f"there is no file named {word}")

    def exists(self, name):
        path = os.path.join(self.root, name)
        return bool(glob.glob(path, recursive=True)) if "*" in name else os.path.exists(path)

    # --- what it tells to do -------------------------------------------------------------------

    def variables(self):
        """Every word in capitals that the sources hold."""
        words = set()
        for name in self.files:
            if name.endswith((".rs", ".py", ".sh", ".yaml", ".toml")) or name == "Makefile":
                with open(os.path.join(self.root, name), encoding="utf-8") as file:
                    words.update(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", file.read()))
        return words

    def check_variables(self, document, known):
        for line, text in document.spans():
            for word in re.findall(r"^([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=.*)?$", text):
                if word not in known:
                    self.fault(document, line, f"no source knows the variable {word}")

    def check_make(self, document, targets):
        for line, words in commands_of(document):
            if words[0] != "make":
                continue
            for word in words[1:]:
                if re.fullmatch(r"[a-z][\w-]*", word) and word not in targets:
                    self.fault(document, line, f"make {word}: the Makefile has no such target")

    def check_cargo(self, document):
        for line, words in commands_of(document):
            if words[0] != "cargo":
                continue
            for flag, name in zip(words[1:], words[2:]):
                if flag in ("--test", "--bench") and name[:1] != "-":
                    folder = {"--test": "tests", "--bench": "benches"}[flag]
                    there = [f"{folder}/{name}.rs", f"{folder}/{name}/main.rs"]
                    if not any(self.exists(path) for path in there):
                        self.fault(document, line, f"cargo {flag} {name}: there is no {there[1]}")
                elif flag in ("-p", "--package") and not self.has_package(name):
                    self.fault(document, line, f"cargo {flag} {name}: there is no such package")

    def has_package(self, name):
        for manifest in self.files:
            if os.path.basename(manifest) == "Cargo.toml":
                with open(os.path.join(self.root, manifest), encoding="utf-8") as file:
                    if re.search(rf'^name = "{re.escape(name)}"$', file.read(), re.MULTILINE):
                        return True
        return False

    def check_commands(self, document, commands):
        for line, words in commands_of(document):
            if words[0].split("/")[-1] == "dqn-scaler":
                problem = commands.problem(words[1:])
                if problem:
                    self.fault(document, line, problem)
        # A flag by itself is one of ours.
        for line, text in document.spans():
            flag = re.fullmatch(r"(--[a-z][\w-]*)(?:[ =].*)?", text)
            if flag and flag[1] not in commands.all_flags() | FLAGS_OF_OTHERS:
                self.fault(document, line, f"no subcommand has the flag {flag[1]}")


def commands_of(document):
    """The commands in code, each as its words; variables that are set before it are left out."""
    joined, begin = "", None
    texts = list(document.spans())
    for line, text in document.code:
        begin = begin or line
        joined += text.rstrip("\\")
        if not text.endswith("\\"):
            texts.append(Span(begin, joined))
            joined, begin = "", None
    for line, text in texts:
        text = re.sub(r"^\s*\$ ", "", text)
        try:
            lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;")
            lexer.whitespace_split, lexer.commenters = True, "#"
            words = list(lexer)
        except ValueError:  # no command: a quote that does not end
            words = text.split()
        command = []
        for word in words + ["|"]:
            if word.strip("|&;"):
                command.append(word)
                continue
            while command and re.fullmatch(r"[A-Za-z_]\w*=.*", command[0]):
                command.pop(0)
            if command:
                yield line, command
            command = []


def make_targets(root):
    path = os.path.join(root, "Makefile")
    if not os.path.exists(path):
        return set()
    with open(path, encoding="utf-8") as file:
        rules = re.findall(r"^([\w .-]+?)\s*:(?!=)", file.read(), re.MULTILINE)
    return {target for rule in rules for target in rule.split()}


class Commands:
    """The subcommands and flags of the binary, as its help tells them."""

    def __init__(self, binary, path=()):
        text = run_help(binary, path)
        self.name = " ".join(("dqn-scaler",) + path)
        self.flags = set(re.findall(r"^\s+(?:-\w, )?(--[a-z][\w-]*)", text, re.MULTILINE))
        section = re.search(r"^Commands:\n((?:[ \t]+.*\n|\n(?=[ \t]))*)", text, re.MULTILINE)
        names = re.findall(r"^  (\w[\w-]*)", section[1] if section else "", re.MULTILINE)
        self.below = {name: Commands(binary, path + (name,)) for name in names if name != "help"}

    @classmethod
    def of(cls, binary):
        return cls(binary) if binary and os.access(binary, os.X_OK) else None

    def problem(self, words):
        """What is wrong with the words after the binary, if something is."""
        if self.below and words and re.fullmatch(r"[a-z][\w-]*", words[0]):
            below = self.below.get(words[0])
            return below.problem(words[1:]) if below else f"{self.name} has no {words[0]}"
        for word in words:
            flag = re.match(r"--[a-z][\w-]*", word)
            if flag and flag[0] not in self.flags:
                return f"{self.name} has no flag {flag[0]}"
        return None

    def all_flags(self):
        return self.flags.union(*(below.all_flags() for below in self.below.values()))


def run_help(binary, path):
    libraries = os.path.join(os.environ.get("LIBTORCH") or ".libtorch", "lib")
    environment = dict(os.environ, LD_LIBRARY_PATH=libraries)
    command = [os.path.abspath(binary), *path, "--help"]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("binary", nargs="?", help="where it is, if not in target/release")
    parser.add_argument("--root", default=here, help="the folder of the project")
    arguments = parser.parse_args()
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(here, "target")
    binary = arguments.binary or os.path.join(target, "release", "dqn-scaler")
    if arguments.binary and not os.access(binary, os.X_OK):
        parser.error(f"{binary} is no program")
    checker = Checker(arguments.root, binary)
    knew_commands = checker.run()
    for name, line, message in sorted(set(checker.faults)):
        print(f"{name}:{line}: {message}")
    if not knew_commands:
        print(f"check-docs: flags were not checked: there is no {binary}", file=sys.stderr)
    faults = len(set(checker.faults))
    if faults:
        print(f"check-docs: {faults} faults in {len(checker.documents)} documents", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
