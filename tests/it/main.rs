//! Every test against real servers, in one binary, so that Redis and Kafka are started once a run.
//!
//! `harness` starts and stops the servers and the daemon; the other modules are the tests. Kafka's jars come from
//! `make kafka`; a test that lacks a part fails and says which, it never passes in silence.

#![allow(clippy::unwrap_used)]

mod access;
mod api_input;
mod api_limits;
mod brokers;
mod check;
mod compose;
mod connections;
mod dead_letters;
mod demo;
mod exactly_once;
mod exactly_once_kills;
mod exactly_once_strength;
mod examples;
mod failover_audit;
mod failover_counts;
mod gaps;
mod gaps_anew;
mod harness;
mod harness_checks;
mod house;
mod kafka_refusals;
mod ledger_checks;
mod memory;
mod migration;
mod migration_api;
mod migration_live;
mod new_streams;
mod observability;
mod operator;
mod parity;
mod parity_asked;
mod parity_audit;
mod parity_audit_faults;
mod parity_changed;
mod parity_cli;
mod parity_pieces;
mod parity_strays;
mod parity_unread;
mod places;
mod plan;
mod protocols;
mod redis_failover;
mod redis_groups;
mod refusals;
mod resize;
mod rig;
mod schemathesis;
mod secrecy;
mod shadow;
mod shutdown;
mod starts;
mod status_situations;
mod streams_edge;
mod takeover;
mod throttle;
mod topics_edge;
mod witness;
