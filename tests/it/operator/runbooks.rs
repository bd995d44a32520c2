//! The form of every runbook: the same headings in the same order, commands that exist with flags that exist, and nothing
//! that leads to where nothing is.

use std::collections::BTreeMap;

use crate::harness::lockgate;

use super::book::{Block, Book, matches, syntax_error};

const HEADINGS: [&str; 7] = [
    "What you see",
    "Who is hurt, how soon",
    "First minute",
    "Decide",
    "Repair",
    "Verify",
    "Afterwards",
];
/// What a runbook's commands may ask of the environment; the operator sets them, and so do the tests.
pub const VARIABLES: [&str; 11] = [
    "BROKERS",
    "CONFIG",
    "DATABASE",
    "ENTRIES",
    "ID",
    "NAME",
    "ROUTE",
    "STREAM",
    "TOKEN_FILE",
    "TOOK",
    "TOPIC",
];
/// Commands that only the operator's machines can run: kubectl, systemctl, Kafka's tools, redis-cli on the server.
const BY_HAND: usize = 81;

#[test]
fn every_runbook_has_the_same_headings_in_the_same_order() {
    for book in Book::all() {
        let name = &book.name;
        let (title, sections) = book.sections.split_first().unwrap();
        let first = title.text.lines().next().unwrap_or_default();
        assert_eq!(first, format!("# {name}"));
        let headings: Vec<&str> = sections.iter().map(|one| one.heading.as_str()).collect();
        assert_eq!(headings, HEADINGS, "{name}");
        let empty = sections
            .iter()
            .find(|one| one.text.trim().is_empty() && one.blocks.is_empty());
        assert!(empty.is_none(), "{name}: {empty:?}");
        let first_minute = book.section("First minute").commands();
        assert!((1..=3).contains(&first_minute), "{name}: {first_minute}");
        let decide = &book.section("Decide").text;
        let rows = decide.lines().filter(|line| line.starts_with('|')).count();
        assert!(rows >= 4, "{name}: a table that decides nothing");
        assert!(
            !book.section("Verify").blocks.is_empty(),
            "{name}: nothing shows that it is over"
        );
    }
}

#[test]
fn every_phase_and_every_way_back_says_how_long_recovery_takes() {
    for name in [
        "shadow",
        "consumers",
        "ingress",
        "cleanup",
        "done",
        "rollback-consumer-lag",
        "rollback-inconsistency",
        "rollback-ingress-failure",
    ] {
        let book = Book::find(name);
        let said = book.sections[0].text.contains("**Expected recovery time: ");
        assert!(said, "{name}: no expected recovery time under its title");
    }
}

#[test]
fn every_command_is_one_that_a_shell_can_read_and_those_by_hand_are_counted() {
    let mut by_hand = 0;
    for book in Book::all() {
        for section in &book.sections {
            for block in &section.blocks {
                let (line, command) = match block {
                    Block::Run(step) => (step.line, step.command.clone()),
                    Block::ByHand { line, commands } => {
                        by_hand += commands.len();
                        (*line, commands.join("\n"))
                    }
                };
                let error = syntax_error(&command);
                assert!(error.is_none(), "{}:{line}: {error:?}", book.name);
            }
        }
        for step in book.steps() {
            let expect = step.expect.as_deref().unwrap_or("x");
            let read = matches(expect, "");
            assert!(read.is_ok(), "{}:{}: {read:?}", book.name, step.line);
            assert_eq!(
                read,
                Ok(false),
                "{}:{}: `{expect}` expects nothing",
                book.name,
                step.line
            );
        }
    }
    assert_eq!(by_hand, BY_HAND, "commands by hand");
}

#[test]
fn every_command_that_is_run_is_a_verb_of_the_binary_with_flags_of_its_own() {
    let mut help: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut looked = 0;
    for book in Book::all() {
        for step in book.steps() {
            let place = format!("{}:{}: {}", book.name, step.line, step.command);
            let words: Vec<&str> = step.command.split_whitespace().collect();
            assert_eq!(words[0], "lockgate", "{place}");
            for variable in variables(&step.command) {
                assert!(
                    VARIABLES.contains(&variable.as_str()),
                    "{place}: ${variable}"
                );
            }
            let verbs = words[1..]
                .iter()
                .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
            let verb: Vec<String> = verbs.map(|word| (*word).to_owned()).collect();
            let text = help.entry(verb.clone()).or_insert_with(|| help_of(&verb));
            let flags = words.iter().filter(|word| word.starts_with("--"));
            for flag in flags {
                assert!(text.contains(flag), "{place}: no {flag}");
            }
            looked += 1;
        }
    }
    assert!(looked > 40, "{looked} commands");
}

/// What a verb's `--help` prints; arguments after the verb are no verbs, so the longest one that has help counts.
#[track_caller]
fn help_of(verb: &[String]) -> String {
    for length in (1..=verb.len()).rev() {
        let mut words: Vec<&str> = vec!["help"];
        words.extend(verb[..length].iter().map(String::as_str));
        let output = lockgate(&words);
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).into_owned();
        }
    }
    panic!("lockgate has no verb {verb:?}");
}

/// `$NAME`s of a command.
fn variables(command: &str) -> Vec<String> {
    let begun = command.split('$').skip(1);
    begun
        .map(|rest| {
            let upper = |c: &char| c.is_ascii_uppercase() || *c == '_';
            rest.chars().take_while(upper).collect()
        })
        .collect()
}

#[test]
fn what_runbooks_name_is_there() {
    let mut named = 0;
    for (name, text) in lockgate::runbooks::all() {
        // Alerts, wherever they stand; and `runbook a-name`, which may begin a new line.
        let words: Vec<&str> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| !word.is_empty())
            .collect();
        for (before, word) in words.iter().zip(&words[1..]) {
            let alert = word.len() > 8
                && word
                    .strip_prefix("Lockgate")
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
            let procedure = *before == "runbook" && word.contains('-');
            if alert || procedure {
                named += 1;
                assert!(
                    lockgate::runbooks::find(word).is_some(),
                    "{name} names {word}, which is no runbook"
                );
            }
        }
        assert!(!text.contains("check the logs"), "{name}: for which line?");
    }
    assert!(named > 60, "{named} names");
}

#[test]
fn what_is_not_of_the_form_is_found() {
    let whole = "# X\n\n## Repair\n```sh run\nlockgate status\n# expect: a|b\n# exit: 5\n```\n";
    let book = Book::read("X", whole).unwrap();
    let step = book.steps()[0];
    assert_eq!(
        (step.line, step.command.as_str(), step.expect.as_deref()),
        (4, "lockgate status", Some("a|b"))
    );
    assert_eq!(step.exit, 5);
    for (from, to) in [
        ("# exit: 5\n", ""),
        ("# exit: 5", "# exit: (0|5)"),
        ("# expect: a|b", "# output: a|b"),
        ("lockgate status\n", "lockgate status\nlockgate check\n"),
        ("```sh run", "```bash"),
        ("# exit: 5\n```\n", "# exit: 5\n"),
    ] {
        let broken = whole.replace(from, to);
        assert!(Book::read("X", &broken).is_err(), "{broken}");
    }
    assert!(syntax_error("lockgate status |").is_some());
    assert!(syntax_error("a | b > c").is_none());
    assert!(matches("(", "x").is_err());
    assert_eq!(matches(r#""up":\s*true"#, "{\n\"up\": true\n}"), Ok(true));
}
