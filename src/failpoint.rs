//! Named points at which a crash test may end, pause or spoil this process. Compiled in with the feature `failpoints`
//! alone; without it every call is nothing.
//!
//! `LOCKGATE_FAILPOINTS="mirror-before-commit=abort@3,mirror-after-send=sleep:500"`: at the third time the first point is
//! passed the process dies without unwinding; at every time the second is passed it sleeps half a second. `spoil` marks a
//! point at which the code itself does the wrong thing, to show that the tests would see it.

/// Every point of the mirror, so that a test can go through them all.
pub const MIRROR_POINTS: &[&str] = &[
    AFTER_OPEN,
    AFTER_LOAD,
    AFTER_FIRST_CHECKPOINT,
    AFTER_READ,
    AFTER_SEND,
    BEFORE_COMMIT,
    AFTER_COMMIT,
];

pub const AFTER_OPEN: &str = "mirror-after-open";
pub const AFTER_LOAD: &str = "mirror-after-load";
pub const AFTER_FIRST_CHECKPOINT: &str = "mirror-after-first-checkpoint";
pub const AFTER_READ: &str = "mirror-after-read";
pub const AFTER_SEND: &str = "mirror-after-send";
pub const BEFORE_COMMIT: &str = "mirror-before-commit";
pub const AFTER_COMMIT: &str = "mirror-after-commit";
/// The audit after a failover: before and after its checkpoints are committed.
pub const AUDIT_POINTS: &[&str] = &[AUDIT_BEFORE_COMMIT, AUDIT_AFTER_COMMIT];

pub const AUDIT_BEFORE_COMMIT: &str = "audit-before-commit";
pub const AUDIT_AFTER_COMMIT: &str = "audit-after-commit";
/// The driver: before and after what it journals is stored, and before and after applications are told.
pub const DRIVER_POINTS: &[&str] = &[BEFORE_JOURNAL, AFTER_JOURNAL, BEFORE_TELL, AFTER_TELL];

pub const BEFORE_JOURNAL: &str = "driver-before-journal";
pub const AFTER_JOURNAL: &str = "driver-after-journal";
pub const BEFORE_TELL: &str = "driver-before-tell";
pub const AFTER_TELL: &str = "driver-after-tell";
/// The points of a resize, in their order.
pub const RESIZE_POINTS: &[&str] = &[
    RESIZE_ANNOUNCED,
    RESIZE_FENCED,
    RESIZE_BEFORE_COMMIT,
    RESIZE_AFTER_COMMIT,
];

pub const RESIZE_ANNOUNCED: &str = "resize-announced";
pub const RESIZE_FENCED: &str = "resize-fenced";
pub const RESIZE_BEFORE_COMMIT: &str = "resize-before-commit";
pub const RESIZE_AFTER_COMMIT: &str = "resize-after-commit";
/// Spoils: checkpoints go in a transaction of their own.
pub const SPOIL_CHECKPOINT: &str = "mirror-checkpoint-outside";
/// Spoils: every opening of a shard's producer takes a transactional id of its own, so nothing is fenced.
pub const SPOIL_FENCE: &str = "mirror-no-fence";

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex};
    use std::time::Duration;

    #[derive(Clone, Copy)]
    enum Action {
        Abort,
        Sleep(Duration),
        Spoil,
    }

    struct Point {
        action: Action,
        /// Acts at this passage alone; `None`: at each.
        at: Option<u64>,
        passed: u64,
    }

    static POINTS: LazyLock<Mutex<HashMap<String, Point>>> = LazyLock::new(|| {
        let text = std::env::var("LOCKGATE_FAILPOINTS").unwrap_or_default();
        let points = text.split(',').filter(|part| !part.is_empty()).map(|part| {
            parse(part).unwrap_or_else(|| panic!("LOCKGATE_FAILPOINTS: cannot read `{part}`"))
        });
        Mutex::new(points.collect())
    });

    fn parse(part: &str) -> Option<(String, Point)> {
        let (name, rest) = part.split_once('=')?;
        let (action, at) = match rest.split_once('@') {
            Some((action, at)) => (action, Some(at.parse().ok()?)),
            None => (rest, None),
        };
        let action = match action.split_once(':') {
            None if action == "abort" => Action::Abort,
            None if action == "spoil" => Action::Spoil,
            Some(("sleep", ms)) => Action::Sleep(Duration::from_millis(ms.parse().ok()?)),
            _ => return None,
        };
        Some((
            name.to_owned(),
            Point {
                action,
                at,
                passed: 0,
            },
        ))
    }

    fn pass(name: &str) -> Option<Action> {
        let mut points = POINTS.lock().expect("no holder of this lock panics");
        let point = points.get_mut(name)?;
        point.passed += 1;
        point
            .at
            .is_none_or(|at| at == point.passed)
            .then_some(point.action)
    }

    pub fn hit(name: &str) {
        match pass(name) {
            Some(Action::Abort) => std::process::abort(),
            Some(Action::Sleep(time)) => {
                // A test waits for this line to know that the process stands here.
                eprintln!("failpoint {name} sleeps");
                std::thread::sleep(time);
            }
            Some(Action::Spoil) | None => {}
        }
    }

    pub fn spoiled(name: &str) -> bool {
        matches!(pass(name), Some(Action::Spoil))
    }
}

/// Passes a point.
#[inline]
pub fn hit(name: &str) {
    #[cfg(feature = "failpoints")]
    armed::hit(name);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// Whether a test asks the code to do the wrong thing here.
#[inline]
#[must_use]
pub fn spoiled(name: &str) -> bool {
    #[cfg(feature = "failpoints")]
    return armed::spoiled(name);
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = name;
        false
    }
}
