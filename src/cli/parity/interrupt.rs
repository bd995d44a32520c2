//! How a comparison is broken off: the first signal lets it keep where it stands, a second one leaves at once.
//!
//! Signals are heard by a task of their own, because who reads a log does not come to listen until the log is over.

use std::process;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;

/// Listens as long as it lives.
pub struct Interrupt {
    stop: CancellationToken,
    listening: JoinHandle<()>,
}

impl Interrupt {
    /// From here on a signal is heard.
    ///
    /// # Errors
    /// The system gives no signals.
    pub fn listen() -> anyhow::Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
        let stop = CancellationToken::new();
        let asked = stop.clone();
        let listening = tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            asked.cancel();
            either(&mut terminate, &mut interrupt).await;
            eprintln!("lockgate: left at once, with what was kept last");
            process::exit(Exit::Unknown as i32);
        });
        Ok(Self { stop, listening })
    }

    /// Cancelled by the first signal.
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
