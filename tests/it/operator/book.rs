//! A runbook, read: its headings in order, and the commands under each with what they must print and end with.
//!
//! A block `sh run` holds one command that the tests run, `# expect: REGEX` for what it prints and `# exit: N`. A block
//! `sh by-hand` is for what only the operator's own machines have; it is read for its syntax.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// A command of a runbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub line: usize,
    pub command: String,
    /// As `grep -P` reads it.
    pub expect: Option<String>,
    pub exit: i32,
}

/// What stands between two fences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    Run(Step),
    ByHand { line: usize, commands: Vec<String> },
}

/// What stands under one heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    pub heading: String,
    pub text: String,
    pub blocks: Vec<Block>,
}

/// A runbook.
#[derive(Clone, Debug)]
pub struct Book {
    pub name: String,
    pub sections: Vec<Section>,
}

impl Book {
    /// Every runbook of the binary.
    pub fn all() -> Vec<Self> {
        let books = lockgate::runbooks::all();
        assert!(books.len() > 20, "{} runbooks", books.len());
        books
            .into_iter()
            .map(|(name, text)| {
                Self::read(name, text).unwrap_or_else(|fault| panic!("runbooks/{name}.md:{fault}"))
            })
            .collect()
    }

    pub fn find(name: &str) -> Self {
        let books = Self::all().into_iter();
        let mut named = books.filter(|book| book.name == name);
        named.next().unwrap_or_else(|| panic!("no runbook {name}"))
    }

    pub fn section(&self, heading: &str) -> &Section {
        let found = self.sections.iter().find(|one| one.heading == heading);
        found.unwrap_or_else(|| panic!("{}: no heading {heading}", self.name))
    }

    /// Everything that the tests run, in order.
    pub fn steps(&self) -> Vec<&Step> {
        self.sections.iter().flat_map(Section::steps).collect()
    }

    /// Reads one; a fault begins with its line.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut sections: Vec<Section> = vec![Section::default()];
        let mut fence: Option<(usize, String, Vec<String>)> = None;
        for (line, raw) in (1..).zip(text.lines()) {
            let bare = raw.trim();
            let last = sections.last_mut().expect("there is one from the start");
            if let Some((begin, kind, mut lines)) = fence.take() {
                if bare == "```" {
                    last.blocks.push(block(begin, &kind, lines)?);
                } else {
                    lines.push(bare.to_owned());
                    fence = Some((begin, kind, lines));
                }
            } else if let Some(kind) = bare.strip_prefix("```") {
                fence = Some((line, kind.to_owned(), Vec::new()));
            } else if let Some(heading) = raw.strip_prefix("## ") {
                sections.push(Section {
                    heading: heading.to_owned(),
                    ..Section::default()
                });
            } else {
                last.text.push_str(raw);
                last.text.push('\n');
            }
        }
        if let Some((begin, ..)) = fence {
            return Err(format!("{begin}: a block that does not end"));
        }
        Ok(Self {
            name: name.to_owned(),
            sections,
        })
    }
}

impl Section {
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Run(step) => Some(step),
            Block::ByHand { .. } => None,
        })
    }

    /// Commands, whoever runs them.
    pub fn commands(&self) -> usize {
        let count = |block: &Block| match block {
            Block::Run(_) => 1,
            Block::ByHand { commands, .. } => commands.len(),
        };
        self.blocks.iter().map(count).sum()
    }
}

fn block(line: usize, kind: &str, lines: Vec<String>) -> Result<Block, String> {
    let fault = |what: &str| Err(format!("{line}: {what}"));
    if lines.is_empty() {
        return fault("an empty block");
    }
    match kind {
        "sh by-hand" => Ok(Block::ByHand {
            line,
            commands: lines,
        }),
        "sh run" => step(line, &lines).map(Block::Run),
        other => fault(&format!(
            "a block of kind `{other}`; there is `sh run` and `sh by-hand`"
        )),
    }
}

fn step(line: usize, lines: &[String]) -> Result<Step, String> {
    let (notes, commands): (Vec<&String>, Vec<&String>) =
        lines.iter().partition(|one| one.starts_with("# "));
    let note = |key: &str| notes.iter().find_map(|note| note.strip_prefix(key));
    let [command] = commands[..] else {
        return Err(format!("{line}: `sh run` holds one command"));
    };
    let exit = note("# exit: ").ok_or(format!("{line}: no `# exit: N`"))?;
    let exit = exit
        .parse()
        .map_err(|_| format!("{line}: `# exit: {exit}` is no number"))?;
    let expect = note("# expect: ").map(str::to_owned);
    if notes.len() != 1 + usize::from(expect.is_some()) {
        return Err(format!(
            "{line}: a note that is neither `# expect: REGEX` nor `# exit: N`"
        ));
    }
    Ok(Step {
        line,
        command: command.clone(),
        expect,
        exit,
    })
}

/// Whether a text matches, as `grep -P` says it. `Err`: it is no expression.
pub fn matches(regex: &str, text: &str) -> Result<bool, String> {
    let mut grep = Command::new("grep")
        .args(["-P", "-e", regex])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("grep starts");
    // It may stop reading at its first match.
    let _ = grep
        .stdin
        .take()
        .expect("a pipe")
        .write_all(text.as_bytes());
    let output = grep.wait_with_output().expect("grep ends");
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What the shell says against a command, reading it only.
pub fn syntax_error(command: &str) -> Option<String> {
    let output = Command::new("sh")
        .args(["-n", "-c", command])
        .output()
        .expect("sh starts");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}
