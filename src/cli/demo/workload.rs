//! Messages of a messaging platform, placed as it places them: murmur3 of the conversation as a signed number, its absolute
//! value, modulo 16 streams.

/// Streams `msg:stream:0` to `msg:stream:15`.
pub const STREAMS: u8 = 16;
const CONVERSATIONS: u64 = 400;

/// One message: the number of its stream, and its fields in the platform's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub stream: u32,
    pub fields: [(&'static str, String); 8],
}

/// The n-th message: always the same. With what breaks a careless JSON writer, hash or reader of lines.
#[must_use]
pub fn message(n: u64) -> Message {
    const TEXTS: [&str; 6] = [
        "see you at nine",
        "a \\\"quoted\\\" word",
        "back\\\\slash",
        "line\\nbreak",
        "größe 漢字",
        "😀 fine",
    ];
    const SENDERS: [&str; 4] = ["ana", "a \"quoted\" name", "tab\tand\u{1}control", "李雷"];
    let mut random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut pick = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let number = pick(CONVERSATIONS);
    let conversation = if number % 7 == 0 {
        format!("conv_é{number}😀")
    } else {
        format!("conv_{number:03}")
    };
    let text = TEXTS[usize::try_from(pick(6)).unwrap_or(0)];
    let sender = SENDERS[usize::try_from(pick(4)).unwrap_or(0)];
    let payload = if pick(3) == 0 {
        format!("payload/{n}")
    } else {
        String::new()
    };
    let metadata = format!(
        "{{\"content\":\"{text}\",\"contentType\":\"text\",\"priority\":{},\"retryCount\":0,\"recipientIds\":[\"u{}\"]}}",
        pick(3),
        pick(1000)
    );
    Message {
        stream: placed(&conversation),
        fields: [
            ("messageId", format!("msg-{n}")),
            ("conversationId", conversation),
            ("senderId", sender.to_owned()),
            (
                "createdAt",
                format!(
                    "2025-03-07T12:{:02}:{:02}.{:03}Z",
                    n / 60_000 % 60,
                    n / 1_000 % 60,
                    n % 1_000
                ),
            ),
            ("payloadKey", payload),
            ("idempotencyKey", format!("idem-{n}")),
            ("correlationId", format!("corr-{n}")),
            ("metadata", metadata),
        ],
    }
}

fn placed(conversation: &str) -> u32 {
    let mut bytes = conversation.as_bytes();
    let hash = murmur3::murmur3_32(&mut bytes, 0).expect("reading from memory does not fail");
    hash.cast_signed().unsigned_abs() % u32::from(STREAMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_placed_as_the_platform_places_them() {
        for (conversation, stream) in [
            ("conv_001", 0),
            ("conv_002", 9),
            ("test_conv_001", 2),
            ("😀", 6),
            ("é", 7),
            ("漢字", 11),
        ] {
            assert_eq!(placed(conversation), stream, "{conversation}");
        }
    }

    #[test]
    fn every_stream_gets_messages_and_their_metadata_is_json() {
        let messages: Vec<Message> = (0..2_000).map(message).collect();
        let streams: std::collections::BTreeSet<u32> =
            messages.iter().map(|message| message.stream).collect();
        assert_eq!(streams.len(), usize::from(STREAMS));
        for message in &messages {
            let (name, metadata) = &message.fields[7];
            assert_eq!(*name, "metadata");
            serde_json::from_str::<serde_json::Value>(metadata).expect(metadata);
        }
    }
}
