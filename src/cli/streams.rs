//! `lockgate streams`: the streams of the running daemon, and lifting a halt.

use super::Exit;
use super::api::{ApiArgs, Client, Error};
use super::output::{Output, print, print_json};
use super::status::{Look, show};
use crate::config::Start;
use crate::http::ResumeBody;
use crate::status::{StateName, Status};

/// List the running daemon's streams, or let a halted one go on
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show each stream: state, reason, checkpoint, lag, last error and what to do next
    #[command(after_help = "Example: lockgate streams list")]
    List {
        #[command(flatten)]
        api: ApiArgs,
        /// No signs beyond ASCII
        #[arg(long)]
        ascii: bool,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Let a halted stream go on; what it lost is counted, and the reason goes into the log
    #[command(
        after_help = "Examples:\n  lockgate streams resume msg:stream:3 --reason 'trimmed by hand, INC-41'\n  \
        lockgate streams resume --database 1 msg:stream:3 --from earliest --reason 'checkpoint topic was deleted'"
    )]
    Resume(Resume),
}

#[derive(Debug, clap::Args)]
struct Resume {
    /// The stream, as `lockgate status` names it
    #[arg(value_name = "STREAM")]
    stream: String,
    /// Its database; may be left out where only one database has a stream of this name
    #[arg(long, value_name = "N")]
    database: Option<u32>,
    /// Where to begin again, for a stream whose checkpoint is lost: earliest, latest, or the id to begin after
    #[arg(long, value_name = "WHERE")]
    from: Option<Start>,
    /// Why; it goes into the log
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    api: ApiArgs,
    /// How to print what was asked
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let (Verb::List { api, .. } | Verb::Resume(Resume { api, .. })) = &args.verb;
    let client = match api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    match &args.verb {
        Verb::List { ascii, output, .. } => match client.text("/v1/status") {
            Ok(body) => list(&body, *ascii, *output),
            Err(error) => Ok(error.exit()),
        },
        Verb::Resume(resume) => lift(resume, &client),
    }
}

fn list(body: &str, ascii: bool, output: Output) -> anyhow::Result<Exit> {
    if output == Output::Json {
        let status: serde_json::Value = serde_json::from_str(body)?;
        print_json(&status["streams"])?;
        return Ok(Exit::Done);
    }
    show(
        body,
        Look {
            ascii,
            color: false,
            streams: true,
            shards: false,
        },
        output,
        false,
    )
}

fn lift(args: &Resume, client: &Client) -> anyhow::Result<Exit> {
    let database = match args.database {
        Some(database) => database,
        None => match the_only_database(client, &args.stream) {
            Ok(Ok(database)) => database,
            Ok(Err(why)) => {
                eprintln!("lockgate: {why}");
                return Ok(Exit::Usage);
            }
            Err(error) => return Ok(error.exit()),
        },
    };
    let body = ResumeBody {
        database,
        stream: args.stream.clone(),
        from: args.from,
        reason: args.reason.clone(),
    };
    let asked: ResumeBody = match client.post("/v1/streams/resume", &body) {
        Ok(asked) => asked,
        Err(error) => return Ok(error.exit()),
    };
    match args.output {
        Output::Json => print_json(&asked)?,
        Output::Text => print(&format!(
            "{} of database {database} goes on; watch it: lockgate status --streams --watch\n",
            asked.stream
        ))?,
    }
    Ok(Exit::Done)
}

/// A stream's database, where its name alone tells; of several the one whose stream is halted.
fn the_only_database(client: &Client, stream: &str) -> Result<Result<u32, String>, Error> {
    let status: Status = client.get("/v1/status")?;
    let named = || status.streams.iter().filter(|found| found.stream == stream);
    let databases: Vec<u32> = named().map(|found| found.database).collect();
    let halted: Vec<u32> = named()
        .filter(|found| found.state.name == StateName::Halted)
        .map(|found| found.database)
        .collect();
    Ok(match (databases.as_slice(), halted.as_slice()) {
        ([only], _) | (_, [only]) => Ok(*only),
        ([], _) => Err(format!(
            "this instance owns no stream `{stream}`; `lockgate streams list` lists those it owns, another may own it"
        )),
        (several, _) => Err(format!(
            "databases {several:?} all have a stream `{stream}`; say which: --database N"
        )),
    })
}
