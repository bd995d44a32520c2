//! Why a comparison could not be made.

use crate::placement::{Offset, Partition, Topic};
use crate::streams;
use crate::{checkpoint, topics};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Redis(#[from] streams::Error),
    #[error(transparent)]
    Kafka(#[from] topics::Error),
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// What was asked for makes no sense here.
    #[error("{0}")]
    Usage(String),
    /// The migration driver tells it when it has read its state, and not while what is stored of that does not agree.
    #[error(
        "{topic} holds a record that names no entry, at offset {offset} of partition {partition}, and it is not known yet whether \
         applications may have written it to Kafka themselves: nothing is compared before the migration driver has told"
    )]
    NotTold {
        topic: Topic,
        partition: Partition,
        offset: Offset,
    },
    /// What was counted is not what was read.
    #[error(
        "the counts do not add up to what was read, so nothing can be said: {0}. This is a fault of lockgate's own and says \
         nothing of the stores; please report it"
    )]
    Unaccounted(String),
}

impl Error {
    /// Whether a store cannot be reached now: nothing is known to be wrong, and it is worth trying again.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        let kafka = |error: &topics::Error| {
            matches!(
                error.kind(),
                topics::ErrorKind::Unreachable | topics::ErrorKind::Timeout
            )
        };
        match self {
            Self::Redis(error) => matches!(
                error.kind(),
                streams::ErrorKind::Unreachable
                    | streams::ErrorKind::Timeout
                    | streams::ErrorKind::Loading
                    | streams::ErrorKind::MasterDown
            ),
            Self::Kafka(error) | Self::Checkpoint(checkpoint::Error::Topics(error)) => kafka(error),
            Self::Checkpoint(checkpoint::Error::Unreadable { .. })
            | Self::Usage(_)
            | Self::NotTold { .. }
            | Self::Unaccounted(_) => false,
        }
    }
}
