//! One thing that is wrong with a configuration: the key's full name, what is the matter, and what to do about it.

use std::fmt;

/// A problem of a configuration. Problems come in lists: an operator sees all of them at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's full name, `routes[1].partition.fold`; a variable's or a file's name where no key is at fault.
    pub key: String,
    /// What is wrong and what to do; never a secret's text.
    pub message: String,
}

impl Problem {
    #[must_use]
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}
