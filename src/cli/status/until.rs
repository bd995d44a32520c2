//! `--until`: asks again and again until something is so, or the time is over.

use std::str::FromStr;
use std::time::{Duration, Instant};

use super::view::Look;
use crate::cli::Exit;
use crate::cli::api::{Client, Error};
use crate::cli::output::Output;
use crate::migration::phase::Step;
use crate::status::{ParityState, Status};

const EVERY: Duration = Duration::from_millis(500);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Level,
    Steady,
    Step(Step),
    /// The gates of the next step are open.
    Gates,
}

/// A text that names no goal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nothing to wait for; write level, steady, gates or step=consumers:25")]
pub struct NoGoal(String);

impl FromStr for Goal {
    type Err = NoGoal;

    fn from_str(text: &str) -> Result<Self, NoGoal> {
        let step = |step: &str| step.parse().map(Self::Step).ok();
        match text {
            "level" => Some(Self::Level),
            "steady" => Some(Self::Steady),
            "gates" => Some(Self::Gates),
            other => other.strip_prefix("step=").and_then(step),
        }
        .ok_or_else(|| NoGoal(text.chars().take(40).collect()))
    }
}

impl Goal {
    /// Whether it is so. What is not known is not so.
    fn reached(self, status: &Status) -> bool {
        let driver = &status.driver;
        let state = driver.state.as_ref().map(|state| state.name.as_str());
        match self {
            Self::Level => status.parity.state == ParityState::Level,
            Self::Steady => state == Some("steady"),
            Self::Step(step) => {
                let there = driver
                    .step
                    .as_ref()
                    .is_some_and(|at| at.actual == step.to_string());
                there && !matches!(state, None | Some("moving" | "rolling_back"))
            }
            Self::Gates => driver.next.as_ref().is_some_and(|next| next.allowed),
        }
    }
}

/// Shows the status when the goal is reached, or as it stands when the time is over.
pub fn wait(
    client: &Client,
    goal: Goal,
    timeout: Duration,
    look: Look,
    output: Output,
) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    loop {
        let asked = client.text("/v1/status");
        let reached = match &asked {
            Ok(body) => serde_json::from_str(body).is_ok_and(|status| goal.reached(&status)),
            // A daemon that is just being restarted is waited for.
            Err(Error::NotReached { .. } | Error::Unanswered { .. }) => false,
            Err(Error::Refused { .. } | Error::Unreadable { .. }) => {
                return Ok(asked.map_or_else(|error| error.exit(), |_| Exit::Failed));
            }
        };
        let over = begun.elapsed() >= timeout;
        if !reached && !over {
            std::thread::sleep(EVERY.min(timeout.saturating_sub(begun.elapsed())));
            continue;
        }
        let body = match asked {
            Ok(body) => body,
            Err(error) => return Ok(error.exit()),
        };
        super::show(&body, look, output, false)?;
        return Ok(if reached { Exit::Done } else { Exit::TimedOut });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_and_what_is_none_is_refused() {
        assert_eq!("level".parse(), Ok(Goal::Level));
        assert_eq!(
            "step=consumers:25".parse(),
            Ok(Goal::Step(Step::consumers(25)))
        );
        for text in ["", "step=", "step=25", "Level", "done"] {
            assert!(text.parse::<Goal>().is_err(), "{text}");
        }
    }
}
