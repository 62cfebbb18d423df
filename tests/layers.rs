//! The house has floors, and imports go down: this reads the sources and fails when one climbs,
//! when files need each other in a circle, or when a public name of the core has no user.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the service, the lowest floor first. Nothing imports from a floor above its own.
const FLOORS: [&[&str]; 15] = [
    &["core"],
    &["clock", "blocking", "files", "logging"],
    &["config"],
    &["model"],
    &["sim"],
    &["train"],
    &["client"],
    &["prometheus", "migrate"],
    &["leader"],
    &["cluster"],
    &["metrics"],
    &["scaler"],
    &["store"],
    &["service"],
    &["api", "terminal", "cli"],
];

/// Libraries that a module must not know, directly.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("core", &["tokio", "kube", "k8s_openapi", "axum", "tch", "parking_lot", "ndarray", "rand"]),
    ("train", &["kube", "k8s_openapi", "axum"]),
    ("model", &["kube", "k8s_openapi", "axum", "tokio"]),
];

/// The module path of a file below `src`, without `mod`.
type Module = Vec<String>;

struct Source {
    /// Relative to the folder that was read.
    file: String,
    module: Module,
    /// Without comments, strings and tests.
    code: String,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources(root: &Path) -> Vec<Source> {
    let source = |path: PathBuf| {
        let file = path.strip_prefix(root).unwrap().with_extension("");
        let mut module: Module =
            file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        let code = stripped(&fs::read_to_string(&path).unwrap());
        Source { file: file.with_extension("rs").display().to_string(), module, code }
    };
    files(root).into_iter().map(source).collect()
}

/// Code alone: no comments, no string literals, nothing from the unit tests on.
fn stripped(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut code = String::new();
    let mut in_string = false;
    for line in text.lines() {
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if in_string => drop(characters.next()),
                '"' => in_string = !in_string,
                '/' if !in_string && characters.peek() == Some(&'/') => break,
                '\'' if !in_string && characters.peek() == Some(&'"') => drop(characters.next()),
                _ if in_string => {}
                _ => code.push(character),
            }
        }
        code.push('\n');
    }
    code
}

/// The paths that a file names below `root`: `crate::a::b`, and `super::` resolved.
fn paths(source: &Source, root: &str) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    // `super` in a.rs and in a/mod.rs is the folder above `a`.
    for (start, at) in [(root, 0), ("super", 1), ("self", 0)] {
        for (index, _) in source.code.match_indices(&format!("{start}::")) {
            let before = source.code[..index].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut base = match start {
                "super" | "self" => source.module.clone(),
                _ => Vec::new(),
            };
            let mut rest = &source.code[index + start.len() + 2..];
            if at == 1 {
                base.pop();
                while let Some(further) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = further;
                }
            }
            expand(&mut found, &base, rest);
        }
    }
    // A module names its own parts without `self`.
    for (index, found_at) in source.code.match_indices("mod ") {
        let rest = &source.code[index + found_at.len()..];
        let Some((child, _)) = rest.split_once(';').filter(|(child, _)| is_name(child)) else {
            continue;
        };
        for (index, name) in source.code.match_indices(&format!("{child}::")) {
            let before = source.code[..index].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                let mut base = source.module.clone();
                base.push(child.to_owned());
                expand(&mut found, &base, &source.code[index + name.len()..]);
            }
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(found: &mut BTreeSet<Module>, base: &Module, text: &str) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut depth = 0;
        let mut item = String::new();
        for character in group.chars() {
            match character {
                '}' if depth == 0 => break,
                ',' if depth == 0 => expand(found, base, &std::mem::take(&mut item)),
                _ => {
                    depth += i32::from(character == '{') - i32::from(character == '}');
                    item.push(character);
                }
            }
        }
        return expand(found, base, &item);
    }
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return;
    }
    let path: Module = base.iter().cloned().chain([name.clone()]).collect();
    match text[name.len()..].strip_prefix("::") {
        Some(rest) => expand(found, &path, rest),
        None => drop(found.insert(path)),
    }
}

/// The file that a path leads into: the longest module that it begins with.
fn target<'a>(sources: &'a [Source], path: &Module) -> Option<&'a Source> {
    let inside = |source: &&Source| path.starts_with(&source.module);
    sources.iter().filter(inside).max_by_key(|source| source.module.len())
}

/// Which files each file imports from.
fn imports(sources: &[Source], root: &str) -> BTreeMap<String, BTreeSet<String>> {
    let of = |source: &Source| {
        let targets = paths(source, root);
        let files = targets.iter().filter_map(|path| Some(target(sources, path)?.file.clone()));
        let others = files.filter(|file| *file != source.file && file != "lib.rs");
        (source.file.clone(), others.collect())
    };
    sources.iter().map(of).collect()
}

/// Every circle of imports, by one walk along each.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    fn walk(
        imports: &BTreeMap<String, BTreeSet<String>>,
        file: &str,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
        found: &mut Vec<String>,
    ) {
        if let Some(start) = way.iter().position(|one| one == file) {
            found.push(format!("{} -> {file}", way[start..].join(" -> ")));
            return;
        }
        if done.contains(file) {
            return;
        }
        way.push(file.to_owned());
        for next in imports.get(file).into_iter().flatten() {
            walk(imports, next, way, done, found);
        }
        way.pop();
        done.insert(file.to_owned());
    }
    let (mut done, mut found) = (BTreeSet::new(), Vec::new());
    for file in imports.keys() {
        walk(imports, file, &mut Vec::new(), &mut done, &mut found);
    }
    found
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The imports of a file from a floor above its own, or from a module that has none.
fn climbing(sources: &[Source], root: &str) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let Some(own) = source.module.first().map(String::as_str) else { continue };
        let Some(here) = floor(own) else {
            if own != "main" {
                found.push(format!("{}: the module {own} has no floor", source.file));
            }
            continue;
        };
        for path in paths(source, root) {
            let Some(module) = path.first().filter(|module| *module != own) else { continue };
            match floor(module) {
                Some(there) if there > here => {
                    found.push(format!("{} climbs to {}", source.file, path.join("::")));
                }
                _ => {}
            }
        }
    }
    found
}

fn service() -> Vec<Source> {
    let all = sources(Path::new("src"));
    all.into_iter().filter(|source| source.module.first().is_none_or(|m| m != "core")).collect()
}

fn core() -> Vec<Source> {
    sources(Path::new("src/core"))
}

#[test]
fn no_import_climbs() {
    assert_eq!(climbing(&service(), "crate"), Vec::<String>::new());
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_eq!(circles(&imports(&service(), "crate")), Vec::<String>::new());
    assert_eq!(circles(&imports(&core(), "crate")), Vec::<String>::new());
}

#[test]
fn modules_know_no_library_that_is_not_theirs() {
    let mut found = Vec::new();
    for (module, libraries) in FORBIDDEN {
        let sources = if module == "core" { core() } else { service() };
        let of = |source: &&Source| {
            module == "core" || source.module.first().is_some_and(|first| first == module)
        };
        for source in sources.iter().filter(of) {
            for library in libraries {
                if names(&source.code, library) {
                    found.push(format!("{} names {library}", source.file));
                }
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// The compiler sees no dead code behind `pub` of another package.
#[test]
fn every_public_name_of_the_core_is_used_outside_its_file() {
    let (core, service) = (core(), service());
    let mut unused = Vec::new();
    for source in &core {
        for keyword in ["fn", "struct", "enum", "const", "type", "trait"] {
            for (index, found) in source.code.match_indices(&format!("pub {keyword} ")) {
                let rest = &source.code[index + found.len()..];
                let name: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let elsewhere = core.iter().chain(&service).filter(|s| !std::ptr::eq(*s, source));
                let tests =
                    files(Path::new("tests")).into_iter().chain(files(Path::new("benches")));
                let used = elsewhere.map(|s| s.code.clone()).any(|code| names(&code, &name))
                    || tests
                        .map(|f| fs::read_to_string(f).unwrap())
                        .any(|code| names(&code, &name))
                    || source.code.matches(&name).count() > 1 && keyword != "fn";
                if !used {
                    unused.push(format!("{}: pub {keyword} {name}", source.file));
                }
            }
        }
    }
    assert_eq!(unused, Vec::<String>::new());
}

fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(index, _)| {
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(code[..index].chars().next_back()) && !part(code[index + name.len()..].chars().next())
    })
}

/// The rules themselves, on sources that break them.
#[test]
fn what_breaks_the_rules_is_found() {
    let source = |file: &str, code: &str| {
        let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = module.split('/').map(str::to_owned).collect();
        Source { file: file.into(), module, code: stripped(code) }
    };
    let climbs = [
        source("config/mod.rs", "use crate::scaler::cycle::Scaler;\n// use crate::api::x;\n"),
        source("scaler/cycle.rs", "use crate::{config::Config, metrics};\n"),
        source("extra.rs", "use crate::core::pod::Pod;\n"),
    ];
    assert_eq!(
        climbing(&climbs, "crate"),
        [
            "config/mod.rs climbs to scaler::cycle::Scaler",
            "extra.rs: the module extra has no floor"
        ]
    );
    let circle = [
        source("cluster/a.rs", "use super::b::{one, two};\n"),
        source("cluster/b.rs", "fn f() { crate::cluster::c::three() }\n"),
        source("cluster/c.rs", "use super::a;\n#[cfg(test)]\nmod tests { use super::super::d; }\n"),
        source("cluster/d.rs", "use super::a::x;\nconst TEXT: &str = \"crate::cluster::e\";\n"),
        source("sim/mod.rs", "mod part;\nuse part::Part;\npub struct Whole;\n"),
        source("sim/part.rs", "use super::Whole;\n"),
    ];
    assert_eq!(
        circles(&imports(&circle, "crate")),
        [
            "cluster/a.rs -> cluster/b.rs -> cluster/c.rs -> cluster/a.rs",
            "sim/mod.rs -> sim/part.rs -> sim/mod.rs"
        ]
    );
}
