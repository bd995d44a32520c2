//! Free loopback ports.
//!
//! Taken from below the range from which the kernel gives ports to outgoing connections: a port from that range can be
//! taken by any client between a server's stop and its restart, and then the restart fails for no fault of its own.
//! Runs that overlap begin at different places; whoever binds first has the port, and the other looks further.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const LOWEST: u16 = 15_000;
const HIGHEST: u16 = 32_000;

/// A port that nobody listens on now and that this run gives out once.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = HIGHEST - LOWEST;
    let begin = u16::try_from(u64::from(std::process::id()) * 613 % u64::from(span)).unwrap();
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = LOWEST + (begin + step % span) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {LOWEST} and {HIGHEST}");
}
