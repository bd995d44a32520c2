//! What both stores, the route and the checkpoint say of one entry. Reads only.

use super::kafka::{self, Held, Searched};
use crate::checkpoint::Checkpoint;
use crate::cli::parity::session::Session;
use crate::entry::{Entry, EntryId, StreamRef};
use crate::parity::{self, Class, Difference, Outcome};
use crate::routing::{Binding, Encoded};
use crate::streams::Inspected;

/// Everything that was found out about one entry.
pub struct Facts {
    pub stream: StreamRef,
    pub id: EntryId,
    pub route: String,
    /// What Redis holds under the stream's name.
    pub redis: Inspected,
    pub entry: Option<Entry>,
    pub should: Should,
    pub held: Vec<Held>,
    pub searched: Vec<Searched>,
    pub checkpoint: Option<Checkpoint>,
    /// The engine's judgement; `None`: neither side has it.
    pub class: Option<Class>,
    pub difference: Option<Difference>,
}

/// What the route makes of the entry.
pub enum Should {
    Record {
        topic: String,
        partition: i32,
        key: Option<Vec<u8>>,
        headers: Vec<(String, Vec<u8>)>,
        value: Vec<u8>,
    },
    DeadLetter {
        topic: String,
        reason: String,
        detail: String,
    },
    /// There is no entry to ask the route about.
    Nothing,
}

/// Looks at both stores.
///
/// # Errors
/// One of them gave no answer.
pub async fn gather(
    session: &Session,
    stream: &StreamRef,
    id: EntryId,
    outcome: &Outcome,
) -> Result<Facts, parity::Error> {
    let edges = &session.edges;
    let Some(binding) = session.routes().bind(stream) else {
        return Err(parity::Error::Usage(format!("no route takes {stream}")));
    };
    let mut connection = edges.redis.connect(stream.database).await?;
    let redis = connection
        .inspect(std::slice::from_ref(&stream.name))
        .await?;
    let redis = redis.into_iter().next().unwrap_or(Inspected::Absent);
    let entry = match &redis {
        Inspected::Stream(_) => connection
            .range(&stream.name, id, id, 1)
            .await?
            .into_iter()
            .next(),
        Inspected::Absent | Inspected::NotAStream(_) => None,
    };
    let (class, difference) = judged(outcome, stream, id);
    let (mut held, mut searched) = (Vec::new(), Vec::new());
    let topics = [binding.topic(), binding.route().dead_letters()];
    let readable = topics.iter().filter(|_| binding.fault().is_none());
    for topic in readable {
        let (found, read) = kafka::search(edges, topic, stream, id).await?;
        held.extend(found);
        searched.push(read);
    }
    Ok(Facts {
        should: should(&binding, stream, entry.as_ref()),
        route: binding.route().name().to_owned(),
        checkpoint: parity::checkpoints(edges).await?.remove(stream),
        class,
        difference,
        stream: stream.clone(),
        id,
        redis,
        entry,
        held,
        searched,
    })
}

/// What the engine says of this entry. Records of the topic that are no entry's may be counted beside it.
fn judged(
    outcome: &Outcome,
    stream: &StreamRef,
    id: EntryId,
) -> (Option<Class>, Option<Difference>) {
    let name = stream.name.to_string();
    let difference = outcome
        .differences
        .iter()
        .find(|one| one.id == Some(id) && one.stream.as_ref() == Some(&name));
    let quiet = [
        Class::Match,
        Class::DeadLettered,
        Class::Pending,
        Class::Unverifiable,
    ];
    let counted = || {
        quiet
            .into_iter()
            .find(|&class| outcome.counts.of(class) > 0)
    };
    let class = difference.map(|one| one.class).or_else(counted);
    (class, difference.cloned())
}

fn should(binding: &Binding, stream: &StreamRef, entry: Option<&Entry>) -> Should {
    let Some(entry) = entry else {
        return Should::Nothing;
    };
    let mut out = Encoded::new();
    match binding.encode(stream, entry, &mut out) {
        Ok(()) => Should::Record {
            topic: binding.topic().to_string(),
            partition: out.partition.0,
            key: out.key().map(<[u8]>::to_vec),
            headers: out
                .headers()
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect(),
            value: out.value,
        },
        Err(unroutable) => Should::DeadLetter {
            topic: binding.route().dead_letters().to_string(),
            reason: unroutable.reason.to_string(),
            detail: unroutable.detail,
        },
    }
}
