//! The flags in flagd's format, for providers that evaluate by themselves.
//!
//! flagd's own percentages (`fractional`) go by a hash of their own and are not used: the rules compare the attributes
//! `bucket`, and `partition` with `partitions`, which the asker puts into its context. An asker that gives none of them is
//! told Redis. (JSONLogic takes a missing number for 0, which would be the first bucket to move, so each rule asks for its
//! presence first.)

use serde_json::{Value, json};

use super::{Backend, Context, Flag, Flags};

/// The whole flag definition.
#[must_use]
pub fn flagd(flags: &Flags) -> Value {
    let entries = Flag::ALL
        .iter()
        .map(|flag| (flag.as_str().to_owned(), definition(flags, *flag)));
    json!({
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": serde_json::Map::from_iter(entries),
        "metadata": { "version": flags.version, "epoch": flags.epoch },
    })
}

fn definition(flags: &Flags, flag: Flag) -> Value {
    let everyone = flags.evaluate(flag, &Context::default());
    let variants = match flag {
        Flag::QueueBackend => json!({ "redis": "redis", "hold": "hold", "kafka": "kafka" }),
        Flag::UseKafkaIngress | Flag::UseKafkaConsumers | Flag::DualWrite => {
            json!({ "on": true, "off": false })
        }
    };
    let mut definition = json!({
        "state": "ENABLED",
        "variants": variants,
        "defaultVariant": everyone.variant(),
    });
    // Where it is the same for everyone there is nothing to target.
    if everyone.reason == super::Reason::Default
        && let Some(targeting) = targeting(flags, flag)
    {
        definition["targeting"] = targeting;
    }
    definition
}

fn targeting(flags: &Flags, flag: Flag) -> Option<Value> {
    let (kafka, held) = flags.bounds();
    let bucket = json!({ "var": "bucket" });
    let no_bucket = json!({ "===": [bucket, null] });
    Some(match flag {
        Flag::DualWrite => return None,
        Flag::UseKafkaIngress => {
            json!({ "if": [no_bucket, "off", { "<": [bucket, kafka] }, "on", "off"] })
        }
        Flag::QueueBackend => json!({ "if": [
            no_bucket, Backend::Redis.as_str(),
            { "<": [bucket, kafka] }, Backend::Kafka.as_str(),
            { "<": [bucket, held] }, Backend::Hold.as_str(),
            Backend::Redis.as_str()
        ] }),
        Flag::UseKafkaConsumers => {
            let (partition, partitions) = (
                json!({ "var": "partition" }),
                json!({ "var": "partitions" }),
            );
            let absent =
                json!({ "or": [{ "===": [partition, null] }, { "===": [partitions, null] }] });
            // partition < ceil(partitions * percent / 100), in whole numbers.
            let reads =
                json!({ "<": [{ "*": [partition, 100] }, { "*": [partitions, flags.consumers] }] });
            json!({ "if": [absent, "off", reads, "on", "off"] })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Bucket;

    /// As much of JSONLogic as the rules use, with its way of taking null for 0.
    fn apply(rule: &Value, data: &Value) -> Value {
        let Some((name, arguments)) = rule.as_object().and_then(|object| object.iter().next())
        else {
            return rule.clone();
        };
        if name == "var" {
            return data[arguments.as_str().expect("a name")].clone();
        }
        let list = arguments.as_array().expect("a list");
        let number = |value: &Value| value.as_f64().unwrap_or(0.0);
        let at = |n: usize| apply(&list[n], data);
        match name.as_str() {
            "===" => json!(at(0) == at(1)),
            "<" => json!(number(&at(0)) < number(&at(1))),
            "*" => json!(number(&at(0)) * number(&at(1))),
            "or" => json!(list.iter().any(|one| apply(one, data) == json!(true))),
            "if" => {
                let (pairs, rest) = list.as_chunks::<2>();
                let chosen = pairs
                    .iter()
                    .find(|[test, _]| apply(test, data) == json!(true));
                chosen.map_or_else(|| apply(&rest[0], data), |[_, then]| apply(then, data))
            }
            other => panic!("unknown rule {other}"),
        }
    }

    fn variant(flags: &Flags, flag: Flag, data: &Value) -> Value {
        let whole = flagd(flags);
        let definition = &whole["flags"][flag.as_str()];
        match definition.get("targeting") {
            Some(rule) => apply(rule, data),
            None => definition["defaultVariant"].clone(),
        }
    }

    #[test]
    fn a_provider_that_evaluates_by_itself_comes_to_the_same() {
        let shares = [
            (0, None),
            (0, Some(10)),
            (10, None),
            (10, Some(25)),
            (50, Some(100)),
            (100, None),
        ];
        for (ingress, hold_ingress_to) in shares {
            let flags = Flags {
                consumers: ingress,
                ingress,
                hold_ingress_to,
                ..Flags::redis_only(3, 2)
            };
            for flag in Flag::ALL {
                let nobody = flags.evaluate(flag, &Context::default());
                assert_eq!(
                    variant(&flags, flag, &json!({})),
                    nobody.variant(),
                    "{flags:?} {flag:?}"
                );
                for number in 0..1024_u32 {
                    let context = Context {
                        bucket: Bucket::new(number.into()),
                        partition: Some((number % 16, 16)),
                        key: None,
                    };
                    let data =
                        json!({ "bucket": number, "partition": number % 16, "partitions": 16 });
                    let here = flags.evaluate(flag, &context);
                    assert_eq!(
                        variant(&flags, flag, &data),
                        here.variant(),
                        "{flags:?} {flag:?} {number}"
                    );
                }
            }
        }
    }
}
