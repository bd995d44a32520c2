//! `lockgate config`: what is configured, where it came from, and all that can be.

use super::output::{Output, print, print_json};
use super::{ConfigArgs, Exit};
use crate::config;

/// Show the effective configuration, the reference of all keys, or their JSON schema
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the effective configuration; secrets as ***
    #[command(after_help = "Example: lockgate config show --config lockgate.toml --origin")]
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Say where each value came from: file and line, variable, command line, or default
        #[arg(long)]
        origin: bool,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Toml)]
        output: Format,
    },
    /// Print every key with its type, default, range, variable and meaning, as Markdown
    #[command(after_help = "Example: lockgate config reference > docs/configuration.md")]
    Reference {
        /// How to print it; json is the schema
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Print the JSON Schema of the configuration, for editors
    #[command(after_help = "Example: lockgate config schema > lockgate.schema.json")]
    Schema,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// As a configuration file
    Toml,
    /// For scripts
    Json,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Show {
            config,
            origin,
            output,
        } => {
            let loaded = match config.load() {
                Ok((loaded, _)) => loaded,
                Err(exit) => return Ok(exit),
            };
            match output {
                Format::Toml => print(&config::show_toml(&loaded, *origin))?,
                Format::Json => print(&format!("{}\n", config::show_json(&loaded, *origin)))?,
            }
        }
        Verb::Reference {
            output: Output::Text,
        } => print(&config::reference())?,
        Verb::Reference {
            output: Output::Json,
        }
        | Verb::Schema => print_json(config::schema::root())?,
    }
    Ok(Exit::Done)
}
