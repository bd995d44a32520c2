//! What the operator looks at, held against what there is: dashboards, alert rules and runbooks.
//!
//! Nothing here is believed: every metric and label value is one that a daemon exposes, every query of a dashboard is run by
//! a Prometheus that scrapes one, every command of a runbook is run.

mod alerts;
mod book;
mod dashboards;
mod live;
mod promql;
mod registry;
mod runbooks;
pub mod scenarios;
mod walk;
