//! Waiting for something to become true, with a deadline and a name.

use std::fmt::Display;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// What a look can say: there, or not yet and perhaps why.
pub trait Outcome {
    type Value;
    fn settled(self) -> Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();
    fn settled(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("not so".to_owned())
        }
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn settled(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing there".to_owned())
    }
}

impl<T, E: Display> Outcome for Result<T, E> {
    type Value = T;
    fn settled(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Looks again and again until `look` gives `true`, `Some` or `Ok`; panics with `what` and the last reason at the deadline.
#[track_caller]
pub fn eventually<O: Outcome>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> O,
) -> O::Value {
    let begin = Instant::now();
    loop {
        match look().settled() {
            Ok(value) => return value,
            Err(why) if begin.elapsed() >= deadline => {
                panic!("{what}: not within {deadline:?}; last look: {why}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// The same inside a runtime.
pub async fn eventually_async<O: Outcome>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> O,
) -> O::Value {
    let begin = Instant::now();
    loop {
        match look().await.settled() {
            Ok(value) => return value,
            Err(why) if begin.elapsed() >= deadline => {
                panic!("{what}: not within {deadline:?}; last look: {why}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
