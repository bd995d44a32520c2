//! What the migration driver may do to Redis: asked where the cutover is configured, before it is needed.

use super::finding::{Findings, Level};
use super::redis::refused;
use super::report::Report;
use crate::streams::{Connection, Error, ErrorKind};

/// What the migration driver may do, tried on a key of its own.
pub async fn check(
    connection: &mut Connection,
    report: &Report,
    findings: &mut Findings,
) -> Result<(), Error> {
    let key = format!("lockgate:{}:check", report.migration);
    let place = "redis.username (the migration driver)";
    match connection.driver_rights(key.as_bytes()).await {
        Ok(denied) if denied.is_empty() => Ok(()),
        Ok(denied) => {
            findings.add(
                Level::Error,
                place,
                format!(
                    "this user may not use {} within a script on keys and channels that begin with lockgate:",
                    denied.join(", ")
                ),
                "permit it: lockgate runbook redis-refuses",
            );
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NoPermission => {
            refused(&error, place, findings);
            Ok(())
        }
        Err(error) => Err(error),
    }
}
