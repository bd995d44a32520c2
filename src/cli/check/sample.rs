//! A sampled entry, and the record that it would become.

use serde::Serialize;

use crate::entry::{Entry, StreamRef};
use crate::routing::{Binding, Encoded};

/// What an entry would become. Keys and headers are shown; a value only where it is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub id: String,
    #[serde(flatten)]
    pub becomes: Becomes,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Becomes {
    Record {
        partition: i32,
        key: Option<String>,
        headers: Vec<(String, String)>,
        value_bytes: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    DeadLetter {
        dead_letter: String,
        detail: String,
    },
}

/// Samples of one stream, and what they tell of placement.
pub struct Samples {
    pub samples: Vec<Sample>,
    /// Key and partition of each that has a key.
    pub keys: Vec<(Vec<u8>, u32)>,
    pub dead_letters: Vec<String>,
}

/// Encodes entries under their route.
#[must_use]
pub fn encode(
    stream: &StreamRef,
    binding: &Binding,
    entries: &[Entry],
    show_payload: bool,
) -> Samples {
    let mut out = Encoded::new();
    let mut samples = Samples {
        samples: Vec::new(),
        keys: Vec::new(),
        dead_letters: Vec::new(),
    };
    for entry in entries {
        let becomes = match binding.encode(stream, entry, &mut out) {
            Ok(()) => {
                if let Some(key) = out.key() {
                    samples
                        .keys
                        .push((key.to_vec(), u32::try_from(out.partition.0).unwrap_or(0)));
                }
                Becomes::Record {
                    partition: out.partition.0,
                    key: out.key().map(shown),
                    headers: out
                        .headers()
                        .map(|(name, value)| (name.to_owned(), shown(value)))
                        .collect(),
                    value_bytes: out.value.len(),
                    value: show_payload.then(|| String::from_utf8_lossy(&out.value).into_owned()),
                }
            }
            Err(unroutable) => {
                samples.dead_letters.push(unroutable.to_string());
                Becomes::DeadLetter {
                    dead_letter: unroutable.reason.to_string(),
                    detail: unroutable.detail,
                }
            }
        };
        samples.samples.push(Sample {
            id: entry.id.to_string(),
            becomes,
        });
    }
    samples
}

/// Bytes as a short text without control characters.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    let text = crate::logging::printable(&String::from_utf8_lossy(bytes));
    crate::cli::status::cut(&text, MOST)
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.becomes {
            Becomes::Record {
                partition,
                key,
                headers,
                value_bytes,
                value,
            } => {
                let key = key
                    .as_ref()
                    .map_or("no key".to_owned(), |key| format!("key {key}"));
                write!(
                    f,
                    "{} → partition {partition}, {key}, value of {value_bytes} bytes",
                    self.id
                )?;
                for (name, value) in headers {
                    write!(f, "\n      {name}: {value}")?;
                }
                if let Some(value) = value {
                    write!(f, "\n      {value}")?;
                }
                Ok(())
            }
            Becomes::DeadLetter {
                dead_letter,
                detail,
            } => write!(f, "{} → dead letter, {dead_letter}: {detail}", self.id),
        }
    }
}
