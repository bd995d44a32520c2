//! `lockgate token`: makes a token for the API, and the line by which the daemon knows it.
//!
//! The token itself goes into a file of its own, readable by its owner alone, and is shown nowhere.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Exit;
use super::output::{Output, print, print_json};
use crate::config::{Digest, Role, Token, check_name};

/// Make a token for the API; prints the line for http.tokens_file
///
/// The line holds no secret. A running daemon that has a tokens file knows it within seconds.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: lockgate token --role operator --name ana --out ana.token >> tokens\n\nRoles: flags (applications: read and \
acknowledge the flags), viewer (reads), operator (does what can be taken back), admin (does also what cannot: complete, \
streams resume, parity repair)."
)]
pub struct Args {
    /// What its holder may do: flags, viewer, operator, admin
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// The name that the journal gives to whoever shows it
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// A new file for the token itself, for --token-file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How to print the line
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    // 256 bits, so that its digest says nothing about it.
    let secret = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    write(&args.out, &secret).with_context(|| {
        format!(
            "{} cannot be made; give a file that is not there yet, in a folder that this user may write",
            args.out.display()
        )
    })?;
    let token = Token {
        role: args.role,
        name: args.name.clone(),
        digest: Digest::of(&secret),
    };
    match args.output {
        Output::Text => print(&format!("{token}\n"))?,
        Output::Json => print_json(&serde_json::json!({
            "line": token.to_string(), "role": token.role, "name": token.name, "token_file": args.out
        }))?,
    }
    Ok(Exit::Done)
}

fn write(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{secret}")
}
