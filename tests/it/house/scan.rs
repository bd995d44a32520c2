//! Which paths a Rust source names: enough of the language to read `use` trees and inline paths, and no more.
//!
//! Comments, strings and items under `#[cfg(test)]` are left out. `super::` is resolved against the file's place, and a name
//! that a `use` brought in is resolved to what it stands for, so that an arrow cannot hide behind either.

use std::collections::HashMap;

use super::tokens::{Token, is_name, tokens, without_tests};

/// A path that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub line: usize,
    pub root: Root,
    /// Without the root: `["mirror", "worker"]`, or `["tokio", "sync"]`; `*` for a glob.
    pub path: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// From the crate's root.
    Crate,
    /// An external crate, or a name that is local to the file.
    Other,
}

/// All paths in the source of the module at `module` (`["mirror", "worker"]`).
pub fn paths(source: &str, module: &[&str]) -> Vec<Named> {
    let tokens = without_tests(tokens(source));
    let mut scan = Scan {
        tokens: &tokens,
        modules: module.iter().map(|&name| name.to_owned()).collect(),
        opened: Vec::new(),
        aliases: HashMap::new(),
        declared: Vec::new(),
        found: Vec::new(),
    };
    scan.run();
    scan.resolve()
}

struct Scan<'a> {
    tokens: &'a [Token],
    modules: Vec<String>,
    /// For each open brace: whether it opened a module.
    opened: Vec<bool>,
    /// What `use` made of a name; the path from the crate's root.
    aliases: HashMap<String, Vec<String>>,
    /// Modules that the file declares: a path that begins with one is local.
    declared: Vec<String>,
    found: Vec<Named>,
}

impl Scan<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    fn run(&mut self) {
        let mut at = 0;
        let mut in_use = false;
        while at < self.tokens.len() {
            match self.text(at) {
                "use" => in_use = true,
                ";" => in_use = false,
                "mod" if is_name(self.text(at + 1)) => {
                    let name = self.text(at + 1).to_owned();
                    self.declared.push(name.clone());
                    if self.text(at + 2) == "{" {
                        self.modules.push(name);
                        self.opened.push(true);
                        at += 2;
                    }
                }
                "{" => self.opened.push(false),
                "}" => self.close(),
                text if is_name(text) && self.begins_a_path(at, in_use) => {
                    at = self.path(at, Vec::new(), in_use);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn close(&mut self) {
        if self.opened.pop() == Some(true) {
            self.modules.pop();
        }
    }

    fn begins_a_path(&self, at: usize, in_use: bool) -> bool {
        let before = at.checked_sub(1).map_or("", |before| self.text(before));
        let continues = before == "::" && at >= 2 && {
            let owner = self.text(at - 2);
            is_name(owner) || matches!(owner, ">" | ")" | "]")
        };
        let leads_on =
            self.text(at + 1) == "::" || (in_use && matches!(before, "use" | "{" | "," | "::"));
        leads_on && !continues && before != "." && before != "as"
    }

    /// Reads a path, or a tree of them, from `at` on; gives where it ends.
    fn path(&mut self, mut at: usize, mut path: Vec<String>, in_use: bool) -> usize {
        let line = self.tokens[at].line;
        loop {
            match self.text(at) {
                "{" if in_use => {
                    at += 1;
                    while self.text(at) != "}" && at < self.tokens.len() {
                        if self.text(at) == "," {
                            at += 1;
                        } else {
                            at = self.path(at, path.clone(), in_use);
                        }
                    }
                    return at + 1;
                }
                "*" if in_use => path.push("*".to_owned()),
                text if is_name(text) => path.push(text.to_owned()),
                // A turbofish or anything else: the path ends before it.
                _ => break,
            }
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
        }
        let mut alias = None;
        if in_use && self.text(at) == "as" {
            alias = Some(self.text(at + 1).to_owned());
            at += 2;
        }
        self.note(line, path, alias, in_use);
        at
    }

    fn note(&mut self, line: usize, path: Vec<String>, alias: Option<String>, in_use: bool) {
        let (root, path) = self.rooted(path);
        if in_use
            && root == Root::Crate
            && let Some(name) = alias.or_else(|| path.last().cloned())
        {
            self.aliases.insert(name, path.clone());
        }
        self.found.push(Named { line, root, path });
    }

    /// `crate::`, `self::` and `super::` in terms of the crate's root.
    fn rooted(&self, path: Vec<String>) -> (Root, Vec<String>) {
        let mut base = self.modules.clone();
        let mut rest = path.as_slice();
        match path.first().map(String::as_str) {
            Some("crate") => {
                base.clear();
                rest = &rest[1..];
            }
            Some("self") => rest = &rest[1..],
            Some("super") => {
                while rest.first().is_some_and(|name| name == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            _ => return (Root::Other, path),
        }
        base.extend(rest.iter().filter(|name| *name != "self").cloned());
        (Root::Crate, base)
    }

    fn resolve(self) -> Vec<Named> {
        let mut found = self.found;
        for named in &mut found {
            if named.root == Root::Crate {
                continue;
            }
            let Some(first) = named.path.first() else {
                continue;
            };
            if let Some(target) = self.aliases.get(first) {
                named.path = target.iter().chain(&named.path[1..]).cloned().collect();
                named.root = Root::Crate;
            } else if self.declared.contains(first) {
                named.path.clear();
            }
        }
        found.retain(|named| !named.path.is_empty());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<String> {
        paths(source, &["mirror", "worker"])
            .into_iter()
            .map(|named| {
                let root = if named.root == Root::Crate {
                    "crate::"
                } else {
                    ""
                };
                format!("{root}{}", named.path.join("::"))
            })
            .collect()
    }

    #[test]
    fn trees_aliases_and_inline_paths_are_read() {
        assert_eq!(
            found("use crate::{entry::EntryId, config::{self, Redis as R}, status};"),
            [
                "crate::entry::EntryId",
                "crate::config",
                "crate::config::Redis",
                "crate::status"
            ]
        );
        assert_eq!(
            found("use crate::config; fn f(c: &config::Config) { crate::topics::open::<u8>(); }"),
            [
                "crate::config",
                "crate::config::Config",
                "crate::topics::open"
            ]
        );
        assert_eq!(
            found(
                "use redis; use {tokio::sync, crate::a::*}; fn f() { ::rdkafka::x(); y.redis::<u8>() }"
            ),
            ["redis", "tokio::sync", "crate::a::*", "rdkafka::x"]
        );
    }

    #[test]
    fn super_climbs_from_where_the_file_stands() {
        assert_eq!(
            found("use super::super::topics::Writer;"),
            ["crate::topics::Writer"]
        );
        assert_eq!(
            found("mod inner { use super::super::gaps::Gap; } use self::inner::X;"),
            [
                "crate::mirror::gaps::Gap",
                "crate::mirror::worker::inner::X"
            ]
        );
    }

    #[test]
    fn comments_strings_tests_and_own_modules_are_no_imports() {
        let source = r##"
            //! crate::topics::A
            /* crate::topics::B /* nested */ crate::topics::C */
            mod redis; pub use redis::Thing;
            const X: &str = "crate::topics::D"; const Y: &str = r#"crate::topics::"E" "#;
            fn f<'a>(c: char) -> bool { c == '"' || c == '\'' || c == '{' }
            #[cfg(test)] mod tests { use crate::topics::F; fn g() { if true {} } }
            #[cfg(test)] use crate::topics::G;
            fn h() { crate::status::seen() }
        "##;
        assert_eq!(found(source), ["crate::status::seen"]);
        assert!(found("#![cfg(test)] use crate::topics::A;").is_empty());
    }

    #[test]
    fn lines_are_counted() {
        let all = paths("// one\n\"two\n three\";\nuse crate::a::B;\n", &[]);
        assert_eq!(all[0].line, 4);
    }
}
