//! Whether the client library takes the operator's properties. Each is asked about by itself, so that all that are wrong are
//! told at once; what several mean together shows only when a client is made.

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::kafka::Kafka;
use crate::config::{self, Problem, Properties};

impl Kafka {
    /// Every property of the configuration that librdkafka does not know, or whose value it does not take.
    #[must_use]
    pub fn problems(config: &config::Kafka) -> Vec<Problem> {
        let of_one = |(name, value): (&String, &String)| {
            let message = refusal(name, value)?;
            // As the operator wrote it: the file's text stands among the properties by now.
            let table = match config.property_files.contains_key(name) {
                true => "property_files",
                false => "properties",
            };
            Some(Problem::new(format!("kafka.{table}.{name}"), message))
        };
        config.properties.iter().filter_map(of_one).collect()
    }
}

fn refusal(name: &str, value: &str) -> Option<String> {
    let mut client = ClientConfig::new();
    client.set(name, value);
    match client.create_native_config() {
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Some(
            "is no property of librdkafka; correct it by its CONFIGURATION.md, or take it out"
                .to_owned(),
        ),
        // Its words repeat the value.
        Err(KafkaError::ClientConfig(_, words, ..)) if !Properties::is_secret(name) => Some(
            format!("is not taken by librdkafka: {words}; correct it by its CONFIGURATION.md"),
        ),
        Err(_) => Some("has a value that librdkafka does not take; correct it".to_owned()),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_client_does_not_take_is_told_at_once_by_its_full_name() {
        let properties = [
            ("linger.ms", "soon"),
            ("queued.min.messages", "0"),
            ("sasl.passwort", "hunter2"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.password", "hunter2"),
            ("ssl.key.pem", "hunter2"),
            ("sasl.oauthbearer.method", "hunter"),
            ("fetch.min.bytes", "many"),
        ];
        let config = config::Kafka {
            properties: properties
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
            property_files: [("fetch.min.bytes".to_owned(), "/run/bytes".into())].into(),
            ..config::Kafka::default()
        };
        let problems = Kafka::problems(&config);
        let keys: Vec<&str> = problems
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "kafka.property_files.fetch.min.bytes",
                "kafka.properties.linger.ms",
                "kafka.properties.queued.min.messages",
                "kafka.properties.sasl.oauthbearer.method",
                "kafka.properties.sasl.passwort",
            ]
        );
        assert!(problems[2].message.contains("range"), "{}", problems[2]);
        assert!(
            problems[4].message.contains("no property"),
            "{}",
            problems[4]
        );
        let told = format!("{problems:?}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
