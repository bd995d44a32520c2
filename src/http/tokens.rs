//! The tokens' file, read again while the daemon runs: a token is good, or good no more, within seconds.
//!
//! A text is taken over only when two looks one after the other found the same, so that a file that is still being written is
//! never half believed. What cannot be read, or holds no token, leaves everybody as they were, and says so in log and status:
//! an API that nobody can use could not be steered, and the tokens that were good were given out on purpose.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Access;
use crate::config::{Token, read_tokens};
use crate::migration::driver::Handle;
use crate::migration::step::{Outcome, Who};
use crate::status::Board;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

type Found = Result<Vec<Token>, String>;

/// Keeps those who may use the API as the file has them, until stopped.
///
/// # Errors
/// None; it is a task like others.
pub async fn keep(
    file: PathBuf,
    access: Arc<Access>,
    board: Arc<Board>,
    driver: Handle,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut taken: Found = Ok(access.tokens().to_vec());
    let mut last = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
        let path = file.clone();
        let looked = tokio::task::spawn_blocking(move || read_tokens(&path)).await;
        let found: Found = crate::tasks::passed_on(looked);
        let settled = last.as_ref() == Some(&found);
        if settled && found != taken {
            take_over(&found, &access, &board, &driver);
            taken = found.clone();
        }
        last = Some(found);
    }
}

fn take_over(found: &Found, access: &Access, board: &Board, driver: &Handle) {
    match found {
        Ok(tokens) => {
            let count = tokens.len();
            info!(tokens = count, "http.tokens_file is taken over");
            let who = Who {
                name: "lockgate".to_owned(),
                origin: "http.tokens_file".to_owned(),
            };
            let note = format!("the file is taken over; tokens in it: {count}");
            driver.note(who, Outcome::Done, note);
            access.admit_from_now(tokens.clone());
            board.tokens_trouble(None);
        }
        Err(why) => {
            warn!(
                why,
                runbook = "rotate-secrets",
                "http.tokens_file is not taken over; those who could use the API still can"
            );
            board.tokens_trouble(Some(why.clone()));
        }
    }
}
