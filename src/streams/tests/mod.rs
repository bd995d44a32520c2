//! Answers as Redis writes them, for the tests of this edge that need no server.

mod answers;
mod decoding;
mod refusals;

use super::entries::Part;
use crate::entry::Entry;

const INFO: &str = "# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n\
    master_replid:8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb\r\n\
    master_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:1234\r\nsecond_repl_offset:-1\r\n";

fn bulk(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    out.extend_from_slice(format!("*{}\r\n", entries.len()).as_bytes());
    for entry in entries {
        out.extend_from_slice(b"*2\r\n");
        bulk(out, entry.id.to_string().as_bytes());
        out.extend_from_slice(format!("*{}\r\n", 2 * entry.fields.len()).as_bytes());
        for field in entry.fields.iter() {
            bulk(out, field.name);
            bulk(out, field.value);
        }
    }
}

/// What XREAD answers: RESP2, or the map of RESP3.
fn xread_reply(parts: &[Part], map: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = if map { '%' } else { '*' };
    out.extend_from_slice(format!("{kind}{}\r\n", parts.len()).as_bytes());
    for part in parts {
        if !map {
            out.extend_from_slice(b"*2\r\n");
        }
        bulk(&mut out, &part.name);
        put_entries(&mut out, &part.entries);
    }
    out
}
