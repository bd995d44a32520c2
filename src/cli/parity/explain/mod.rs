//! `lockgate parity explain`: what the running daemon holds open, in words; or one entry, looked at in both stores.

mod facts;
mod kafka;
mod view;

use super::daemon::Told;
use super::select::Select;
use super::session::{Effort, Scope, Session, block_on, told, usage};
use super::text::Look;
use crate::cli::Exit;
use crate::cli::api::ApiArgs;
use crate::cli::output::{Output, print, print_json};
use crate::cli::status::may_color;
use crate::entry::{Database, EntryId, StreamRef};
use crate::parity::Class;

/// Say where the two stores differ, what each side holds, and what to do
///
/// Without arguments: the differences that the running daemon holds open. With a stream and an id: both stores are looked
/// at for this one entry, and no daemon needs to run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockgate parity explain\n  \
    lockgate parity explain --config lockgate.toml msg:stream:7 1741356110123-0\n  \
    lockgate parity explain --config lockgate.toml msg:stream:7 1741356110123-0 --payload --output json\n\n\
    Exit codes: 0 level, 5 apart, 6 could not tell, 3 daemon not reached, 2 usage, 1 failed.")]
pub struct Args {
    /// The entry's stream
    #[arg(value_name = "STREAM", requires = "id")]
    stream: Option<String>,
    /// The entry's id
    #[arg(value_name = "ID")]
    id: Option<EntryId>,
    /// The stream's database; may be left out where only one has a stream of this name
    #[arg(long, value_name = "N", requires = "stream")]
    database: Option<u32>,
    /// Also show keys, values and fields
    #[arg(long, requires = "stream")]
    payload: bool,
    #[command(flatten)]
    api: ApiArgs,
    /// No signs beyond ASCII
    #[arg(long)]
    ascii: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let look = Look {
        ascii: args.ascii,
        color: may_color(),
    };
    match (&args.stream, args.id) {
        (Some(stream), Some(id)) => one(args, stream, id, look),
        (Some(_), None) | (None, _) => open(args, look),
    }
}

/// What the daemon holds open.
fn open(args: &Args, look: Look) -> anyhow::Result<Exit> {
    let client = match args.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let body = match client.text("/v1/status") {
        Ok(body) => body,
        Err(error) => return Ok(error.exit()),
    };
    let told = Told::read(&body).map_err(anyhow::Error::msg)?;
    match args.output {
        Output::Text => print(&told.open(look))?,
        Output::Json => {
            let status: serde_json::Value = serde_json::from_str(&body)?;
            print_json(&status["parity"]["open_differences"])?;
        }
    }
    Ok(told.exit())
}

/// One entry, in both stores.
fn one(args: &Args, name: &str, id: EntryId, look: Look) -> anyhow::Result<Exit> {
    let session = match Session::load(args.api.config())? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    let scope = Scope {
        select: Select {
            stream: Some(name.to_owned()),
            database: args.database,
            from: Some(id.into()),
            to: Some(id.into()),
            route: None,
        },
        sample: None,
        full: true,
        for_repair: 0,
    };
    if let Err(exit) = session.request(&scope) {
        return Ok(exit);
    }
    let database = match database(&session, args, name) {
        Ok(database) => database,
        Err(why) => return Ok(usage(&why)),
    };
    let stream = StreamRef::new(database, name);
    block_on(async {
        // The engine's own judgement of this one entry, and beside it what each side holds.
        let outcome = match session.verify(&scope, &Effort::default()).await? {
            Ok(verification) => verification.outcome(),
            Err(exit) => return Ok(exit),
        };
        let facts = match facts::gather(&session, &stream, id, &outcome).await {
            Ok(facts) => facts,
            Err(error) => return Ok(told(&error)),
        };
        let exit = exit(facts.class);
        let shown = view::Shown::new(&session.config.name, &facts, args.payload);
        match args.output {
            Output::Text => print(&view::text(&shown, look))?,
            Output::Json => print_json(&shown)?,
        }
        Ok(exit)
    })
}

/// What an entry's class ends with; none: neither side has it.
fn exit(class: Option<Class>) -> Exit {
    match class {
        Some(Class::Match | Class::DeadLettered) => Exit::Done,
        Some(class) if class.is_fault() => Exit::Troubled,
        Some(_) | None => Exit::Unknown,
    }
}

/// The one database whose stream of this name a route takes.
fn database(session: &Session, args: &Args, name: &str) -> Result<Database, String> {
    if let Some(database) = args.database {
        return Ok(Database(database));
    }
    let mut taken: Vec<Database> = session
        .routes()
        .iter()
        .map(|route| route.database())
        .filter(|&database| {
            let stream = StreamRef::new(database, name);
            session.routes().bind(&stream).is_some()
        })
        .collect();
    taken.sort_unstable();
    taken.dedup();
    match taken.as_slice() {
        [only] => Ok(*only),
        several => Err(format!(
            "databases {} all have a stream `{name}`; say which: --database N",
            several
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}
