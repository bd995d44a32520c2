//! The command line: one file per verb. `run` is the daemon; verbs about it talk to its API; the others read the
//! configuration and, where they must, both stores.

mod alerts;
mod api;
mod check;
mod completions;
mod config;
mod demo;
mod discover;
mod evidence;
mod exit;
mod health;
mod load;
mod log_level;
mod migration;
mod output;
mod parity;
mod run;
mod runbook;
mod shards;
mod status;
mod streams;
mod throttle;
mod token;
mod topics;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;
pub use load::ConfigArgs;

/// Moves a running system from Redis Streams to Apache Kafka: mirrors exactly once, proves both level, opens the gates
/// step by step.
#[derive(Debug, Parser)]
#[command(name = "lockgate", version, propagate_version = true, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Check(check::Args),
    Config(config::Args),
    Topics(topics::Args),
    Shards(shards::Args),
    Status(status::Args),
    Streams(streams::Args),
    Parity(parity::Args),
    Throttle(throttle::Args),
    LogLevel(log_level::Args),
    Gates(migration::GatesArgs),
    Promote(migration::PromoteArgs),
    Hold(migration::HoldArgs),
    Resume(migration::ResumeArgs),
    Rollback(migration::RollbackArgs),
    Complete(migration::CompleteArgs),
    Baseline(migration::BaselineArgs),
    Evidence(evidence::Args),
    Journal(migration::JournalArgs),
    Health(health::Args),
    Token(token::Args),
    Runbook(runbook::Args),
    Alerts(alerts::Args),
    Demo(demo::Args),
    Completions(completions::Args),
}

/// The whole command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            // Nothing sensible is left to do where even the usage cannot be printed.
            let _ = error.print();
            return code.into();
        }
    };
    let ended = match cli.verb {
        Verb::Run(args) => Ok(run::run(&args)),
        Verb::Check(args) => check::run(&args),
        Verb::Config(args) => config::run(&args),
        Verb::Topics(args) => topics::run(&args),
        Verb::Shards(args) => shards::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Streams(args) => streams::run(&args),
        Verb::Parity(args) => parity::run(&args),
        Verb::Throttle(args) => throttle::run(&args),
        Verb::LogLevel(args) => log_level::run(&args),
        Verb::Gates(args) => migration::gates(&args),
        Verb::Promote(args) => migration::promote(&args),
        Verb::Hold(args) => migration::hold(&args),
        Verb::Resume(args) => migration::resume(&args),
        Verb::Rollback(args) => migration::rollback(&args),
        Verb::Complete(args) => migration::complete(&args),
        Verb::Baseline(args) => migration::baseline(&args),
        Verb::Evidence(args) => evidence::run(&args),
        Verb::Journal(args) => migration::journal(&args),
        Verb::Health(args) => health::run(&args),
        Verb::Token(args) => token::run(&args),
        Verb::Runbook(args) => runbook::run(&args),
        Verb::Alerts(args) => alerts::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Completions(args) => completions::run(&args, Cli::command()),
    };
    ended
        .unwrap_or_else(|error| {
            eprintln!("lockgate: {error:#}");
            Exit::Failed
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_argument_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_says_what_it_does_shows_an_example_and_answers_scripts() {
        // A daemon, a show, a script for a shell, and what is JSON as it is.
        const ONE_FORM: [&str; 4] = ["run", "demo", "completions", "schema"];
        fn leaves(command: &clap::Command, path: &str, silent: &mut Vec<String>) {
            for verb in command
                .get_subcommands()
                .filter(|verb| verb.get_name() != "help")
            {
                let path = format!("{path} {}", verb.get_name());
                let example = verb
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let answers = verb.get_arguments().any(|one| one.get_id() == "output");
                if verb.get_about().is_none()
                    || !verb.has_subcommands()
                        && (!example.contains("lockgate")
                            || !answers && !ONE_FORM.contains(&verb.get_name()))
                {
                    silent.push(path.clone());
                }
                leaves(verb, &path, silent);
            }
        }
        let mut silent = Vec::new();
        leaves(&Cli::command(), "lockgate", &mut silent);
        assert!(
            silent.is_empty(),
            "without a sentence, an example, or --output: {silent:?}"
        );
    }
}
