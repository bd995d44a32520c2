//! Long-lived tasks by name: the first that fails, or panics, ends the rest.

use std::future::Future;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::status::Board;

/// Why a task ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{task} failed: {cause}")]
    Failed { task: &'static str, cause: String },
    #[error("{task} panicked; this is a defect of lockgate, please report it with the log")]
    Panicked { task: &'static str },
}

/// A task's name, and what it or its panic left behind.
type TaskEnd = (&'static str, Result<Result<(), String>, JoinError>);

/// The tasks of a process, and the token that stops them all.
pub struct Tasks {
    board: Arc<Board>,
    stop: CancellationToken,
    running: JoinSet<TaskEnd>,
}

impl Tasks {
    #[must_use]
    pub fn new(board: Arc<Board>, stop: CancellationToken) -> Self {
        Self {
            board,
            stop,
            running: JoinSet::new(),
        }
    }

    /// Starts a task that ends when the token is cancelled.
    pub fn start<E: std::fmt::Display + Send + 'static>(
        &mut self,
        task: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.board.set_task(task, true);
        self.running.spawn(async move {
            let ended = tokio::spawn(work).await;
            (
                task,
                ended.map(|result| result.map_err(|error| error.to_string())),
            )
        });
    }

    /// Waits for all; the first failure stops the others, and is what is returned.
    ///
    /// # Errors
    /// The first failure.
    pub async fn join(mut self) -> Result<(), Failure> {
        let mut first = Ok(());
        while let Some(ended) = self.running.join_next().await {
            let Ok((task, ended)) = ended else { continue };
            self.board.set_task(task, false);
            let failure = match ended {
                Ok(Ok(())) => continue,
                Ok(Err(cause)) => Failure::Failed { task, cause },
                Err(_panic) => Failure::Panicked { task },
            };
            self.stop.cancel();
            if first.is_ok() {
                first = Err(failure);
            }
        }
        first
    }
}

/// What a task that was waited for gave; its panic goes on in the one who waited, and so up to [`Tasks::join`].
pub fn passed_on<T>(ended: Result<T, JoinError>) -> T {
    match ended {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => panic!("a task was cancelled that nobody cancels: {cancelled}"),
        },
    }
}
