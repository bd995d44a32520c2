//! How a record is handed to the owner of its stream's shard, to be committed without moving a checkpoint.
//!
//! What is missing behind a checkpoint can be produced again only by the shard's own producer: it alone is fenced, so that of
//! two owners one writes. Two that ask one after the other must not both be served either, so the way in is bound to a term
//! of the shard:
//!
//! ```text
//!   admission ──▶ term: its desk ──▶ look whether the entry is missing ──▶ amendment ──▶ the term's next transaction
//! ```
//!
//! A term begins after every transaction before it is decided. So a look that follows the admission sees whatever an earlier
//! term did, and an amendment that a later term would take cannot reach it: its desk is another.

use tokio::sync::{mpsc, oneshot};

use crate::entry::{Entry, StreamRef};

/// Asks the present term of the stream's shard for a way in. Dropped unanswered: nobody here owns the stream now.
#[derive(Debug)]
pub struct Admission {
    pub stream: StreamRef,
    pub reply: oneshot::Sender<mpsc::Sender<Amendment>>,
}

/// An entry that is to become a record once more.
#[derive(Debug)]
pub struct Amendment {
    pub stream: StreamRef,
    pub entry: Entry,
    pub generation: u32,
    /// `Ok`: the record is committed. Dropped: it is not known, and the term has ended.
    pub done: oneshot::Sender<Result<(), String>>,
}
