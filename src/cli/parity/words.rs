//! Differences in words: where each is, what it is, and what can be done about it. Pure.
//!
//! One sentence for each class and reason, so that a screen, a report and `explain` cannot tell the same thing differently.

use crate::cli::output::{counted, grouped};
use crate::parity::{Class, Counts, Difference, Location, Part, Why};

/// Records that are named of one identity.
const NAMED: usize = 6;

/// `0/msg:stream:7 1741356110123-0`; a record without identity is named by its place.
#[must_use]
pub fn identity(difference: &Difference) -> String {
    let database = difference
        .database
        .map_or_else(String::new, |database| format!("{database}/"));
    match (&difference.stream, difference.id) {
        (Some(stream), Some(id)) => format!("{database}{stream} {id}"),
        (Some(stream), None) => format!("{database}{stream}, no id"),
        (None, _) => "a record without identity".to_owned(),
    }
}

/// `messages.v1/3 offset 815`, of several those of one partition together.
#[must_use]
pub fn places(difference: &Difference) -> String {
    let mut places: Vec<String> = difference
        .records
        .iter()
        .take(NAMED)
        .map(|location| place(&difference.topic, location))
        .collect();
    let more = difference.record_count() - places.len() as u64;
    if more > 0 {
        places.push(format!("and {} more", grouped(more)));
    }
    places.join(", ")
}

/// `messages.v1/3 offset 815`, with the generation where a history broke.
#[must_use]
pub fn place(topic: &str, location: &Location) -> String {
    let generation = match location.generation {
        0 => String::new(),
        generation => format!(" (generation {generation})"),
    };
    format!(
        "{topic}/{} offset {}{generation}",
        location.partition, location.offset
    )
}

/// What it is, and where.
#[must_use]
pub fn sentence(difference: &Difference) -> String {
    let at = places(difference);
    let expected = difference
        .expected_partition
        .map_or_else(String::new, |partition| format!("/{partition}"));
    let belongs = format!("{}{expected}", difference.topic);
    match difference.class {
        Class::Match => format!("the same on both sides: {at}"),
        Class::Missing => {
            format!("belongs in {belongs}; Kafka has neither a record nor a dead letter of it")
        }
        Class::Extra => format!("at {at}: {}", because(difference.why)),
        Class::Duplicate => format!(
            "{} of one entry: {at}",
            counted(difference.record_count(), "record")
        ),
        Class::Mismatch => format!("differs in {}: {at}", parts(&difference.parts)),
        Class::Misplaced => format!("at {at}, where the route puts it in {belongs}"),
        Class::Reordered => format!("at {at}, behind a later entry of its key"),
        Class::Pending => format!("belongs in {belongs}; the mirror has not come to it yet"),
        Class::Unverifiable => {
            let mut text = because(difference.why).to_owned();
            if !at.is_empty() {
                text.push_str(&format!("; Kafka has it at {at}"));
            }
            text
        }
        Class::DeadLettered => {
            "no record of the topic; kept whole in the dead-letter topic".to_owned()
        }
    }
}

/// Why an identity is extra or cannot be verified.
#[must_use]
pub const fn because(why: Option<Why>) -> &'static str {
    match why {
        Some(Why::NoIdentity) => "it names no entry; somebody else has written to this topic",
        Some(Why::UnknownStream) => "it names a stream that no route brings to this topic",
        Some(Why::UnknownId) => "it names an entry that its stream never had",
        Some(Why::RedisLostHistory) => "Redis lost this entry in a failover after it was mirrored",
        Some(Why::RedisTrimmed) => "Redis has trimmed its stream past it",
        Some(Why::RedisDeleted) => "it may have been deleted from Redis, singly or with its stream",
        Some(Why::KafkaExpired) => {
            "Kafka's retention has removed the part of the log where it would be"
        }
        Some(Why::KafkaCompacted) => "the topic is compacted and a later record has its key",
        Some(Why::RouteChanged) => {
            "it was mirrored under other settings of its route, which would make another record of it now"
        }
        None => "only one side has it",
    }
}

/// `key and value`.
#[must_use]
pub fn parts(parts: &[Part]) -> String {
    let names: Vec<&str> = parts
        .iter()
        .map(|part| match part {
            Part::Key => "key",
            Part::Value => "value",
            Part::Headers => "headers",
        })
        .collect();
    match names.as_slice() {
        [] => "something".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What to do about it.
#[must_use]
pub const fn advice(class: Class, why: Option<Why>) -> &'static str {
    match class {
        Class::Match | Class::Pending => "nothing",
        Class::Missing => "produce it again: lockgate parity repair --apply --reason TEXT",
        Class::Extra => match why {
            Some(Why::RedisLostHistory) => {
                "decide whether it happened: a consumer has seen it, and Redis's readers never will"
            }
            Some(_) | None => {
                "find who else writes to this topic and stop it; a consumer has to skip it (lockgate parity repair lists where)"
            }
        },
        Class::Duplicate => {
            "a consumer has to skip all but one, by redis-id or by offset (lockgate parity repair lists which)"
        }
        Class::Mismatch => {
            "see what differs: lockgate parity explain STREAM ID --payload; if the route was changed, what was written before is of the old form"
        }
        Class::Misplaced => {
            "if the route's partitions or hash were changed, put them back; a consumer of one partition has to look in both"
        }
        Class::Reordered => {
            "a consumer that needs the order has to sort by redis-id up to there; find who else writes to this topic"
        }
        Class::Unverifiable => match why {
            Some(Why::RedisTrimmed | Why::RedisDeleted) => {
                "let Redis keep entries until they are compared: trim later, or compare more often"
            }
            Some(Why::KafkaExpired) => "raise the topic's retention above the age of the stream",
            Some(Why::RouteChanged) => {
                "nothing, if the change is meant; to compare it, verify with the configuration of that day"
            }
            Some(_) | None => "compare before the topic is compacted, or use retention alone",
        },
        Class::DeadLettered => "read the reason in the dead letter's headers",
    }
}

/// `2 missing, 1 duplicate`: the classes that are faults and not 0.
#[must_use]
pub fn faults(counts: &Counts) -> String {
    let some: Vec<String> = counts
        .classes()
        .filter(|(class, count)| class.is_fault() && *count > 0)
        .map(|(class, count)| format!("{} {class}", grouped(count)))
        .collect();
    some.join(", ")
}

/// `80 pending, 12 unverifiable`: what could not be compared, by those of the two that are not 0.
#[must_use]
pub fn not_compared(counts: &Counts) -> String {
    let some = [Class::Pending, Class::Unverifiable].into_iter();
    let some = some.filter(|&class| counts.of(class) > 0);
    let some: Vec<String> = some
        .map(|class| format!("{} {class}", grouped(counts.of(class))))
        .collect();
    some.join(", ")
}

/// A share in percent, rounded down where what is missing to 100 begins: `99.99998 %`. Never more than is known.
#[must_use]
pub fn percent(share: f64) -> String {
    const MOST_DIGITS: usize = 10;
    let share = share.clamp(0.0, 1.0);
    let mut digits = 0;
    let mut scale = 1.0;
    while share < 1.0 && (1.0 - share) * 100.0 * scale < 1.0 && digits < MOST_DIGITS || digits == 0
    {
        digits += 1;
        scale *= 10.0;
    }
    // What binary fractions take at the last digit is less than this.
    let whole = (share * 100.0 * scale + 1e-6).floor() / scale;
    let text = format!("{whole:.digits$}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parity::samples::difference;

    #[test]
    fn each_class_is_one_sentence_with_its_place() {
        let said = |class, why| {
            let mut one = difference(class, &[(3, 815)]);
            one.why = why;
            sentence(&one)
        };
        assert_eq!(
            said(Class::Missing, None),
            "belongs in messages.v1/3; Kafka has neither a record nor a dead letter of it"
        );
        assert_eq!(
            said(Class::Extra, Some(Why::NoIdentity)),
            "at messages.v1/3 offset 815: it names no entry; somebody else has written to this topic"
        );
        assert_eq!(
            said(Class::Reordered, None),
            "at messages.v1/3 offset 815, behind a later entry of its key"
        );
        assert_eq!(
            said(Class::Unverifiable, Some(Why::RedisTrimmed)),
            "Redis has trimmed its stream past it; Kafka has it at messages.v1/3 offset 815"
        );
        let mut two = difference(Class::Duplicate, &[(3, 812), (3, 815)]);
        two.records[1].generation = 1;
        assert_eq!(
            sentence(&two),
            "2 records of one entry: messages.v1/3 offset 812, messages.v1/3 offset 815 (generation 1)"
        );
        let mut many = difference(Class::Duplicate, &[(3, 1); 10]);
        many.more = 1_000;
        let text = sentence(&many);
        assert!(text.starts_with("1,010 records of one entry: "), "{text}");
        assert!(text.ends_with("offset 1, and 1,004 more"), "{text}");
        let mut altered = difference(Class::Mismatch, &[(3, 815)]);
        altered.parts = vec![Part::Key, Part::Value, Part::Headers];
        assert_eq!(
            sentence(&altered),
            "differs in key, value and headers: messages.v1/3 offset 815"
        );
        for class in Class::ALL {
            assert!(!said(class, None).is_empty() && !advice(class, None).is_empty());
        }
    }

    #[test]
    fn an_identity_is_named_as_far_as_it_has_one() {
        let mut one = difference(Class::Extra, &[(3, 815)]);
        assert_eq!(identity(&one), "0/msg:stream:7 1741356110123-0");
        one.stream = None;
        assert_eq!(identity(&one), "a record without identity");
    }

    #[test]
    fn a_share_is_never_rounded_up() {
        for (share, text) in [
            (0.999_999_87, "99.99998 %"),
            (0.999, "99.9 %"),
            (0.999_5, "99.95 %"),
            (0.512_34, "51.2 %"),
            (0.0, "0 %"),
            (1.0, "100 %"),
            (0.998_999, "99.8 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }
}
