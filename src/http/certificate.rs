//! The API's certificate and key, read again while the daemon runs: a renewed one is shown within seconds, and connections that
//! stand go on.
//!
//! As with the tokens' file, two looks one after the other must have found the same; and a pair that cannot be read, or does not
//! go together, as between the writing of the one file and of the other, leaves what is shown as it is, and says so.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Tls;
use super::tls::Texts;
use crate::config::Digest;
use crate::migration::driver::Handle;
use crate::migration::step::{Outcome, Who};
use crate::status::Board;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

type Seen = Result<Digest, String>;

/// Keeps what is shown as the files have it, until stopped.
///
/// # Errors
/// None; it is a task like others.
pub async fn keep(
    tls: Tls,
    board: Arc<Board>,
    driver: Handle,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let (mut taken, mut last): (Option<Seen>, Option<Seen>) = (None, None);
    loop {
        let files = tls.files.clone();
        let looked = tokio::task::spawn_blocking(move || files.read()).await;
        let found = crate::tasks::passed_on(looked);
        let seen = found.as_ref().map(Texts::digest).map_err(Clone::clone);
        let settled = last.as_ref() == Some(&seen);
        if settled && taken.as_ref() != Some(&seen) {
            // At the first look it is what was read at the start, or newer.
            let renewed = taken.is_some();
            take_over(found, &tls, &board, renewed.then_some(&driver));
            taken = Some(seen.clone());
        }
        last = Some(seen);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// `journal`: it is to be noted there.
fn take_over(found: Result<Texts, String>, tls: &Tls, board: &Board, journal: Option<&Handle>) {
    match found.and_then(|texts| texts.server(&tls.files)) {
        Ok(server) => {
            tls.show(server);
            board.certificate_trouble(None);
            if let Some(driver) = journal {
                info!("http.tls_cert_file and http.tls_key_file are taken over");
                let who = Who {
                    name: "lockgate".to_owned(),
                    origin: "http.tls_cert_file".to_owned(),
                };
                let note = "the API's certificate is taken over".to_owned();
                driver.note(who, Outcome::Done, note);
            }
        }
        Err(why) => {
            warn!(
                why,
                runbook = "rotate-secrets",
                "http.tls_cert_file and http.tls_key_file are not taken over; the certificate before is still shown"
            );
            board.certificate_trouble(Some(why));
        }
    }
}
