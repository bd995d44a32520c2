//! Clients on their way out: closing one takes the client library 100 ms and more, which nobody has to wait for until the
//! process ends.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Clients of this process that are being closed.
static CLOSING: AtomicUsize = AtomicUsize::new(0);

/// Closes what it holds on a thread of its own.
pub(super) struct Closing<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Closing<T> {
    pub(super) const fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Drop for Closing<T> {
    fn drop(&mut self) {
        let client = Counted::new(self.0.take());
        // Without a thread the closure, and the client in it, is dropped here.
        let _ = thread::Builder::new()
            .name("client-close".to_owned())
            .spawn(move || drop(client));
    }
}

impl<T: Send + 'static> Deref for Closing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken by drop alone")
    }
}

struct Counted<T>(Option<T>);

impl<T> Counted<T> {
    fn new(client: Option<T>) -> Self {
        CLOSING.fetch_add(1, SeqCst);
        Self(client)
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        drop(self.0.take());
        CLOSING.fetch_sub(1, SeqCst);
    }
}

/// Waits until every client that was given up is closed, or so long: a process that ends beside the client library's threads
/// takes away what they stand on. Blocking.
pub fn await_closed(within: Duration) {
    let until = Instant::now() + within;
    while CLOSING.load(SeqCst) > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(2));
    }
}
