//! The Kafka edge: the only importer of rdkafka.
//!
//! [`Writer`] writes transactions, [`read_partition`] reads what was committed, [`Membership`] learns which shards are this
//! instance's, [`Admin`] makes and describes topics. Their calls block unless they are `async`: they belong on threads of
//! their own.

mod admin;
mod closing;
mod delivery;
mod ends;
mod error;
mod groups;
mod kafka;
mod membership;
mod places;
mod plan;
mod properties;
mod reader;
mod record;
mod spec;
mod writer;

pub use admin::{Admin, Broker, Cluster, PartitionState, Setting, TopicState};
pub use closing::await_closed;
pub use delivery::{LatencyObserver, WriterStatistics};
pub use ends::{Ends, Undecided};
pub use error::{Error, ErrorKind, Refusal};
pub use groups::{Group, GroupLag};
pub use kafka::{Complaint, Kafka, LARGEST_RECORD_BYTES};
pub use membership::{Assignment, Membership};
pub use plan::{Difference, plan};
pub use reader::{
    Bounds, Committed, From, RecordView, Stretch, bounds, offsets_at, read_partition,
    read_partitions, read_stretches, read_undecided,
};
pub use record::{Headers, Record};
pub use spec::TopicSpec;
pub use writer::Writer;
