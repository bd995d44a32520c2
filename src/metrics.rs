//! The metrics: counters and gauges are read off the status snapshot at each scrape; only histograms, and what the API refuses,
//! count by themselves.
//!
//! Every value of every label exists at 0 from the first scrape, because a counter born at 7 never raises `increase()`.
//! What cannot be measured is absent. No label ever holds a stream, an id, a key or an error's text.

mod families;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use crate::status::{Board, Status};

/// Seconds: 1 2 5 10 20 50 100 200 500 ms, 1 2 5 10 30 s. Every latency that gates and tripwires are given by default is a bound.
pub const BUCKETS: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];

/// What the producers of this instance have done, beyond the status: summed over writers that came and went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Produced {
    pub acked: u64,
    pub errors: u64,
    pub retries: u64,
}

/// Why the API turned a request away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No token, or one that is not known.
    Auth,
    /// The token's role is not enough.
    Role,
    /// Another site sends it, or it calls this API by a name that is none of its own.
    Origin,
    /// Too many requests from one address.
    Pace,
    /// A request that did not come to its end in time.
    Slow,
}

impl Denied {
    const ALL: [Self; 5] = [Self::Auth, Self::Role, Self::Origin, Self::Pace, Self::Slow];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Role => "role",
            Self::Origin => "origin",
            Self::Pace => "pace",
            Self::Slow => "slow",
        }
    }
}

/// The registry and the histograms that parts observe into.
pub struct Metrics {
    registry: Registry,
    pub transaction: Histogram,
    pub end_to_end: Histogram,
    pub produce: Histogram,
    edge_request: HistogramVec,
    evaluations: IntCounterVec,
    denied: IntCounterVec,
    pub connections: IntGauge,
    produced: Arc<Mutex<Produced>>,
}

impl Metrics {
    /// All metrics of this instance, in a registry of their own.
    ///
    /// # Errors
    /// A metric is declared twice.
    pub fn new(board: Arc<Board>, migration: &str) -> Result<Self, prometheus::Error> {
        let labels = [("migration".to_owned(), migration.to_owned())].into();
        let registry = Registry::new_custom(None, Some(labels))?;
        let opts =
            |name: &str, help: &str| HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        let directed = |name: &str, help: &str| {
            Histogram::with_opts(opts(name, help).const_label("direction", "forward"))
        };
        let transaction = directed(
            "lockgate_mirror_transaction_duration_seconds",
            "Begin to commit of a mirror's transaction",
        )?;
        let end_to_end = directed(
            "lockgate_mirror_end_to_end_duration_seconds",
            "Time of an entry's id to its record being visible",
        )?;
        let produce = Histogram::with_opts(
            opts(
                "lockgate_kafka_produce_duration_seconds",
                "Time for the broker to acknowledge a record, sampled",
            )
            .const_label("purpose", "mirror"),
        )?;
        let edge_request = HistogramVec::new(
            opts(
                "lockgate_edge_request_duration_seconds",
                "Time of a request to a store",
            ),
            &["edge", "op"],
        )?;
        for (edge, op) in [
            ("redis", "read"),
            ("redis", "admin"),
            ("kafka", "write"),
            ("kafka", "commit"),
            ("kafka", "admin"),
        ] {
            edge_request.with_label_values(&[edge, op]);
        }
        let evaluations = evaluations()?;
        registry.register(Box::new(evaluations.clone()))?;
        let denied = IntCounterVec::new(
            Opts::new(
                "lockgate_http_denied_total",
                "Requests that the API turned away",
            ),
            &["reason"],
        )?;
        for reason in Denied::ALL {
            denied.with_label_values(&[reason.as_str()]);
        }
        let connections = IntGauge::new(
            "lockgate_http_connections",
            "Connections to the API that are open; at most http.connections",
        )?;
        registry.register(Box::new(connections.clone()))?;
        let produced = Arc::new(Mutex::new(Produced::default()));
        for collector in [transaction.clone(), end_to_end.clone(), produce.clone()] {
            registry.register(Box::new(collector))?;
        }
        registry.register(Box::new(edge_request.clone()))?;
        registry.register(Box::new(denied.clone()))?;
        registry.register(Box::new(Snapshots {
            board,
            produced: Arc::clone(&produced),
        }))?;
        Ok(Self {
            registry,
            transaction,
            end_to_end,
            produce,
            edge_request,
            evaluations,
            denied,
            connections,
            produced,
        })
    }

    /// `edge`: redis, kafka. `op`: read, write, commit, admin.
    pub fn request(&self, edge: &'static str, op: &'static str, took: Duration) {
        self.edge_request
            .with_label_values(&[edge, op])
            .observe(took.as_secs_f64());
    }

    /// An application was told a flag's value. `surface`: ofrep, for one asker; flagd, for who names no key.
    pub fn evaluated(&self, surface: &'static str, flag: &'static str, variant: &'static str) {
        self.evaluations
            .with_label_values(&[surface, flag, variant])
            .inc();
    }

    /// A request that the API turned away.
    pub fn denied(&self, reason: Denied) {
        self.denied.with_label_values(&[reason.as_str()]).inc();
    }

    /// Adds what a producer did since it was last asked.
    pub fn produced(&self, more: Produced) {
        let mut total = self.produced.lock().unwrap_or_else(PoisonError::into_inner);
        total.acked += more.acked;
        total.errors += more.errors;
        total.retries += more.retries;
    }

    /// Prometheus's text form.
    ///
    /// # Errors
    /// Two families disagree about a name.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The flags and their variants; a test beside the flags holds them against these.
pub const FLAGS: [(&str, &[&str]); 4] = [
    ("USE_KAFKA_INGRESS", &["on", "off"]),
    ("USE_KAFKA_CONSUMERS", &["on", "off"]),
    ("DUAL_WRITE", &["on", "off"]),
    ("QUEUE_BACKEND", &["redis", "hold", "kafka"]),
];

/// Readers of the Redis hash ask Redis, so nothing is known of them here.
fn evaluations() -> Result<IntCounterVec, prometheus::Error> {
    let opts = Opts::new(
        "lockgate_flags_evaluations_total",
        "Values told to applications; a reader of flagd's format evaluates by itself and is counted with its default",
    );
    let evaluations = IntCounterVec::new(opts, &["surface", "flag", "variant"])?;
    for surface in ["ofrep", "flagd"] {
        for (flag, variants) in FLAGS {
            for variant in variants {
                evaluations.with_label_values(&[surface, flag, variant]);
            }
        }
    }
    Ok(evaluations)
}

/// Makes families of a fresh snapshot.
struct Snapshots {
    board: Arc<Board>,
    produced: Arc<Mutex<Produced>>,
}

impl Collector for Snapshots {
    fn desc(&self) -> Vec<&Desc> {
        // Unchecked, as Prometheus's own client calls a collector whose families are made when asked for.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status: Status = self.board.snapshot();
        let produced = *self.produced.lock().unwrap_or_else(PoisonError::into_inner);
        families::of(&status, produced)
    }
}
