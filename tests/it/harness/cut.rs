//! A TCP proxy before Redis or Kafka that can be cut, stalled, or made to break off after so many bytes.
//!
//! ```text
//!   client ──▶ Cut (own port) ──▶ server        one thread for each way of each connection
//! ```
//! A fault applies to the connections that are open and to those made later, until `mend`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::ports::free_port;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Asking,
    /// From the server to the client.
    Answering,
}

/// What becomes of a connection once its bytes are counted out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is closed, both ways; the proxy goes on with new ones.
    Close,
    /// It is closed, and so is every other until `mend`.
    Cut,
    /// It stays open and nothing more comes through, either way, for every connection until `mend`.
    Stall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    Cut,
    Stalled,
    Over,
}

struct State {
    mode: Mode,
    /// Bytes of this way wait, those of the other pass.
    held: Option<Way>,
    /// Bytes of one way that still pass, over all connections together, and what happens then.
    limit: Option<(Way, usize, Fault)>,
    connections: Vec<(TcpStream, TcpStream)>,
    upstream: u16,
    passed: [u64; 2],
    accepted: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The proxy; its connections are closed when it is dropped.
pub struct Cut {
    port: u16,
    shared: Arc<Shared>,
}

impl Cut {
    /// A proxy on a port of its own before the server on `upstream`, which need not be up yet.
    pub fn to_port(upstream: u16) -> Self {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                mode: Mode::Open,
                held: None,
                limit: None,
                connections: Vec::new(),
                upstream,
                passed: [0; 2],
                accepted: 0,
            }),
            changed: Condvar::new(),
        });
        let to_accept = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &to_accept));
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection, and each new one at once.
    pub fn cut(&self) {
        self.become_(Mode::Cut);
    }

    /// Closes every connection that is open; new ones pass.
    pub fn cut_once(&self) {
        close_all(&mut self.shared.state.lock().unwrap());
    }

    /// Closes every connection; new ones lead to another server, as an address does that follows a failover.
    pub fn lead_to(&self, upstream: u16) {
        let mut state = self.shared.state.lock().unwrap();
        state.upstream = upstream;
        close_all(&mut state);
    }

    /// Holds all bytes back; connections stay open.
    pub fn stall(&self) {
        self.become_(Mode::Stalled);
    }

    /// Holds back the bytes of one way alone: asks are heard, for example, and their answers do not come.
    pub fn hold(&self, way: Way) {
        self.shared.state.lock().unwrap().held = Some(way);
    }

    /// Everything passes again: what was held back first.
    pub fn mend(&self) {
        self.become_(Mode::Open);
    }

    /// Lets `bytes` more pass in one way, to the byte, and then does `fault`. Once.
    pub fn after(&self, way: Way, bytes: usize, fault: Fault) {
        self.shared.state.lock().unwrap().limit = Some((way, bytes, fault));
    }

    /// Whether the fault set by `after` has not happened yet.
    pub fn is_armed(&self) -> bool {
        self.shared.state.lock().unwrap().limit.is_some()
    }

    /// Bytes that have passed in one way.
    pub fn passed(&self, way: Way) -> u64 {
        self.shared.state.lock().unwrap().passed[way as usize]
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> u64 {
        self.shared.state.lock().unwrap().accepted
    }

    fn become_(&self, mode: Mode) {
        let mut state = self.shared.state.lock().unwrap();
        state.mode = mode;
        state.held = None;
        state.limit = None;
        if matches!(mode, Mode::Cut | Mode::Over) {
            close_all(&mut state);
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.become_(Mode::Over);
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn close_all(state: &mut State) {
    for (client, server) in state.connections.drain(..) {
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let upstream = {
            let state = shared.state.lock().unwrap();
            match state.mode {
                Mode::Over => return,
                Mode::Cut => continue,
                Mode::Open | Mode::Stalled => state.upstream,
            }
        };
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else {
            continue;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else {
            continue;
        };
        let (Ok(kept), Ok(kept_too)) = (client.try_clone(), server.try_clone()) else {
            continue;
        };
        let mut state = shared.state.lock().unwrap();
        state.accepted += 1;
        state
            .connections
            .retain(|(client, _)| client.peer_addr().is_ok());
        state.connections.push((kept, kept_too));
        drop(state);
        let (asking, answering) = (Arc::clone(shared), Arc::clone(shared));
        std::thread::spawn(move || pump(client, server, Way::Asking, &asking));
        std::thread::spawn(move || pump(server_too, client_too, Way::Answering, &answering));
    }
}

/// Carries one way of one connection until either end closes or a fault does.
fn pump(mut from: TcpStream, mut to: TcpStream, way: Way, shared: &Shared) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || !carry(&buffer[..count], &mut to, way, shared) {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Whether the connection goes on after these bytes.
fn carry(mut bytes: &[u8], to: &mut TcpStream, way: Way, shared: &Shared) -> bool {
    while !bytes.is_empty() {
        let Some((allowed, fault)) = permit(way, bytes.len(), shared) else {
            return false;
        };
        if to.write_all(&bytes[..allowed]).is_err() {
            return false;
        }
        bytes = &bytes[allowed..];
        match fault {
            None => {}
            Some(Fault::Close) => return false,
            Some(Fault::Cut) => fall(Mode::Cut, shared),
            Some(Fault::Stall) => fall(Mode::Stalled, shared),
        }
    }
    true
}

fn fall(mode: Mode, shared: &Shared) {
    let mut state = shared.state.lock().unwrap();
    state.mode = mode;
    if mode == Mode::Cut {
        close_all(&mut state);
    }
}

/// Waits while stalled; then how many of `wanted` bytes may pass and what happens after them. `None`: closed.
fn permit(way: Way, wanted: usize, shared: &Shared) -> Option<(usize, Option<Fault>)> {
    let mut state = shared.state.lock().unwrap();
    while state.mode == Mode::Stalled || (state.mode == Mode::Open && state.held == Some(way)) {
        state = shared.changed.wait(state).unwrap();
    }
    if state.mode != Mode::Open {
        return None;
    }
    let (allowed, fault) = match state.limit {
        Some((limited, left, fault)) if limited == way && left <= wanted => {
            state.limit = None;
            (left, Some(fault))
        }
        Some((limited, left, fault)) if limited == way => {
            state.limit = Some((way, left - wanted, fault));
            (wanted, None)
        }
        _ => (wanted, None),
    };
    state.passed[way as usize] += allowed as u64;
    Some((allowed, fault))
}
