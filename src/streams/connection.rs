//! One dedicated connection: commands out, answers in, in order.
//!
//! What holds, and why:
//! * **A torn answer is never a short one.** An answer leaves here only after its last byte was seen (entries.rs).
//! * **After a connection-level error the connection is of no use**, and says so: answers could no longer be told
//!   apart. It never reconnects and never sends a command twice; whoever owns it decides.
//! * **Every call may be dropped at any await.** What was written in part and which answers are owed is state of the
//!   connection, not of the call: the next call first writes the rest, then reads what is owed and drops it. That takes
//!   at most what remains of an abandoned call's block.
//! * **Silence is bounded, not size**: an answer may take `response_timeout` (and the time it may block) to begin, and
//!   then as long again from one arrival to the next. A large answer over a slow line is no timeout.
//! * **Entries are bounded where the owner says so** ([`bound_entries`](Connection::bound_entries)): an answer that passes
//!   the bound is broken off there, and its connection with it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::entries::{Part, Reader, Shape};
use super::error::{Error, Peer};
use super::socket::Socket;
use super::wire::{Commands, Cursor, Stop};
use crate::entry::StreamName;

/// Room made for each arrival: a few hundred small entries with one system call.
const ARRIVAL: usize = 64 << 10;
/// Room made ahead for a long string that has announced itself.
const MAX_AHEAD: usize = 4 << 20;
/// A receive buffer that grew beyond this for one large answer is given back.
const KEEP: usize = 1 << 20;

/// One dedicated connection to one database of Redis.
pub struct Connection {
    pub(super) peer: Arc<Peer>,
    socket: Socket,
    incoming: BytesMut,
    outgoing: BytesMut,
    owed: VecDeque<Owed>,
    /// Until when the server may keep silent because a command blocks.
    blocked_until: Option<Instant>,
    response_timeout: Duration,
    /// The most bytes of one answer of entries.
    entries_bound: usize,
    usable: bool,
}

/// An answer that the server owes, and how it is read.
struct Owed {
    command: &'static str,
    reading: Reading,
}

enum Reading {
    /// Kept whole and looked at then; `need` bytes must be there before another look is worth it, and may be no more than
    /// `bound`.
    Whole {
        need: usize,
        bound: usize,
    },
    Entries(Reader),
}

/// The bytes of one whole answer.
pub(super) struct Answer {
    pub(super) command: &'static str,
    bytes: Bytes,
}

impl Connection {
    pub(super) fn new(peer: Arc<Peer>, socket: Socket, response_timeout: Duration) -> Self {
        Self {
            peer,
            socket,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            owed: VecDeque::new(),
            blocked_until: None,
            response_timeout,
            entries_bound: usize::MAX,
            usable: true,
        }
    }

    /// From now on an answer of several entries that passes so many bytes is [`Error::Oversized`], and the connection is of
    /// no more use: one arrival and a copy is all that can lie beyond. An answer's first entry is always let through.
    pub const fn bound_entries(&mut self, bytes: usize) {
        self.entries_bound = bytes;
    }

    /// `false` after any connection-level error: drop it and connect anew.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.usable
    }

    /// Where the connection goes, for logs.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Makes room for commands: what an abandoned call left is written and read to its end first.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        if !self.usable {
            return Err(Error::Lost {
                peer: Arc::clone(&self.peer),
                doing: "an earlier command",
                cause: io::Error::new(io::ErrorKind::NotConnected, "it was given up then"),
            });
        }
        while let Some(owed) = self.owed.front() {
            match owed.reading {
                Reading::Whole { .. } => drop(self.answer().await?),
                Reading::Entries(_) => drop(self.entries().await?),
            }
        }
        self.blocked_until = None;
        if self.incoming.is_empty() && self.incoming.capacity() > KEEP {
            self.incoming = BytesMut::new();
        }
        Ok(())
    }

    /// Queues a command whose answer is read whole. It goes out with the first wait for an answer.
    pub(super) fn queue(&mut self, command: &'static str, words: &[&[u8]]) {
        Commands(&mut self.outgoing).command(words);
        self.owe_whole(command, usize::MAX);
    }

    /// Queues a command whose answer is read whole and holds so many entries at most of one stream.
    pub(super) fn queue_counted(&mut self, command: &'static str, words: &[&[u8]], count: usize) {
        Commands(&mut self.outgoing).command(words);
        let bound = if count > 1 {
            self.entries_bound
        } else {
            usize::MAX
        };
        self.owe_whole(command, bound);
    }

    fn owe_whole(&mut self, command: &'static str, bound: usize) {
        self.owe(command, Reading::Whole { need: 1, bound });
    }

    /// Queues a command whose answer is entries; `write` writes the one command.
    pub(super) fn queue_entries(
        &mut self,
        command: &'static str,
        shape: Shape,
        block: Option<Duration>,
        write: impl FnOnce(&mut Commands<'_>),
    ) {
        write(&mut Commands(&mut self.outgoing));
        self.blocked_until = block.map(|block| Instant::now() + block);
        self.owe(command, Reading::Entries(Reader::new(shape)));
    }

    fn owe(&mut self, command: &'static str, reading: Reading) {
        self.owed.push_back(Owed { command, reading });
    }

    /// The next answer owed, which must be one that is read whole.
    pub(super) async fn answer(&mut self) -> Result<Answer, Error> {
        loop {
            let Some(Owed {
                command,
                reading: Reading::Whole { need, bound },
            }) = self.owed.front_mut()
            else {
                unreachable!("an answer is awaited that was not asked for");
            };
            let command = *command;
            if self.incoming.len() >= *need {
                let mut cursor = Cursor::new(&self.incoming);
                match cursor.skip() {
                    Ok(()) => {
                        let end = cursor.position();
                        self.owed.pop_front();
                        let bytes = self.incoming.split_to(end).freeze();
                        return Ok(Answer { command, bytes });
                    }
                    Err(Stop::More(more)) => *need = more,
                    Err(Stop::Malformed(what)) => return Err(self.malformed(command, what)),
                }
            }
            let (need, bound) = (*need, *bound);
            if need > bound {
                return Err(self.oversized(command, StreamName::from(""), 0));
            }
            self.exchange(command, need).await?;
        }
    }

    /// The next answer owed, which must be one of entries. The inner `Err` is the server's refusal.
    pub(super) async fn entries(&mut self) -> Result<Result<Vec<Part>, Error>, Error> {
        loop {
            let Some(Owed {
                command,
                reading: Reading::Entries(reader),
            }) = self.owed.front_mut()
            else {
                unreachable!("entries are awaited that were not asked for");
            };
            let command = *command;
            match reader.step(&mut self.incoming) {
                Ok(true) => break,
                Ok(false) => {
                    if let Some((stream, entries)) = reader.beyond(self.entries_bound) {
                        let stream = StreamName::from(stream);
                        return Err(self.oversized(command, stream, entries));
                    }
                    let need = reader.need();
                    self.exchange(command, need).await?;
                }
                Err(what) => return Err(self.malformed(command, what)),
            }
        }
        match self.owed.pop_front() {
            Some(Owed {
                command,
                reading: Reading::Entries(reader),
            }) => Ok(reader
                .finish()
                .map_err(|line| Error::answered(&self.peer, command, &line))),
            _ => unreachable!("the loop above saw it"),
        }
    }

    /// Sends what waits to be sent; then waits for bytes, `need` of them being in view.
    async fn exchange(&mut self, command: &'static str, need: usize) -> Result<(), Error> {
        let patience = self.response_timeout
            + self
                .blocked_until
                .map(|until| until.saturating_duration_since(Instant::now()))
                .unwrap_or_default();
        let missing = need.saturating_sub(self.incoming.len());
        self.incoming.reserve(missing.clamp(ARRIVAL, MAX_AHEAD));
        let outcome = timeout(patience, async {
            while self.outgoing.has_remaining() {
                if self.socket.write_buf(&mut self.outgoing).await? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            self.socket.flush().await?;
            self.socket.read_buf(&mut self.incoming).await
        })
        .await;
        let error = match outcome {
            Ok(Ok(0)) => {
                let cause = if self.incoming.is_empty() {
                    "the server closed it"
                } else {
                    "the server closed it in the middle of an answer"
                };
                let cause = io::Error::new(io::ErrorKind::UnexpectedEof, cause);
                Error::broken(&self.peer, command, cause)
            }
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(cause)) => Error::broken(&self.peer, command, cause),
            Err(_) => Error::Timeout {
                peer: Arc::clone(&self.peer),
                doing: command,
                after: patience,
            },
        };
        self.usable = false;
        Err(error)
    }

    /// Gives the connection up: these bytes are no answer to this command.
    pub(super) fn malformed(&mut self, command: &'static str, what: &'static str) -> Error {
        self.usable = false;
        Error::Malformed {
            peer: Arc::clone(&self.peer),
            command,
            what,
        }
    }

    /// Gives the connection up: this answer takes more memory than its owner lets it.
    fn oversized(&mut self, command: &'static str, stream: StreamName, entries: usize) -> Error {
        self.usable = false;
        Error::Oversized {
            peer: Arc::clone(&self.peer),
            command,
            limit: self.entries_bound,
            stream,
            entries,
        }
    }

    /// What the server told in place of a value, where it told that. NOAUTH and the like give the connection up.
    pub(super) fn told<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &outcome {
            self.usable &= !error.is_connection_lost();
        }
        outcome
    }

    /// The server's refusal, where an answer is one.
    pub(super) fn refused(&mut self, answer: &Answer) -> Result<(), Error> {
        match Cursor::new(&answer.bytes).refusal() {
            Ok(None) => Ok(()),
            Ok(Some(line)) => {
                let error = Error::answered(&self.peer, answer.command, line);
                self.told(Err(error))
            }
            Err(_) => Err(self.malformed(answer.command, "an error that cannot be read")),
        }
    }

    /// Looks into a whole answer that is no refusal.
    pub(super) fn look<T>(
        &mut self,
        answer: &Answer,
        look: impl FnOnce(&mut Cursor<'_>) -> Result<T, Stop>,
    ) -> Result<T, Error> {
        self.refused(answer)?;
        look(&mut Cursor::new(&answer.bytes)).map_err(|stop| {
            let what = match stop {
                Stop::Malformed(what) => what,
                Stop::More(_) => "an answer shorter than it says",
            };
            self.malformed(answer.command, what)
        })
    }
}
