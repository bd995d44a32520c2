//! Whether a configuration of the right shape makes sense as well. What patterns and topics mean together is judged by
//! routing, which knows them.

use std::collections::BTreeMap;

use super::{Config, Hash, Http, Key, Partitioner, Problem, Route, Value, text};

mod kafka;

/// Every problem of a configuration, by its key.
pub(super) fn validate(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut found = |key: String, message: &str| problems.push(Problem::new(key, message));
    if !text::is_name(&config.name) {
        found("name".to_owned(), NO_NAME);
    }
    redis(config, &mut found);
    service(config, &mut found);
    for (index, route) in config.routes.iter().enumerate() {
        let prefix = format!("routes[{index}]");
        one_route(route, &mut |key, message| {
            found(format!("{prefix}.{key}"), message)
        });
    }
    for (key, message) in config.migration.problems() {
        problems.push(Problem::new(format!("migration.{key}"), message));
    }
    for (key, message) in config
        .prometheus
        .problems(config.migration.evidence_freshness)
    {
        problems.push(Problem::new(format!("prometheus.{key}"), message));
    }
    for (key, message) in config.flags.problems() {
        problems.push(Problem::new(format!("flags.{key}"), message));
    }
    problems.extend(groups(config));
    problems.extend(kafka::validate(&config.kafka));
    problems.extend(repeated_names(&config.routes));
    problems
}

const NO_NAME: &str =
    "is no name; write small letters, digits, `-` and `_`, a letter or digit first, at most 64";

fn redis(config: &Config, found: &mut impl FnMut(String, &str)) {
    let redis = &config.redis;
    let mut found = |name: &str, message: &str| found(format!("redis.{name}"), message);
    match redis.address() {
        Err(problem) => found("url", &problem.message),
        Ok(address) => {
            let tls = matches!(address.endpoint, super::Endpoint::Tcp { tls: true, .. });
            for (name, file) in [
                ("tls_ca_file", &redis.tls_ca_file),
                ("tls_cert_file", &redis.tls_cert_file),
                ("tls_key_file", &redis.tls_key_file),
            ] {
                if file.is_some() && !tls {
                    found(
                        name,
                        "has no use without TLS; write redis.url as rediss://, or take this out",
                    );
                }
            }
        }
    }
    if redis.password.is_some() && redis.password_file.is_some() {
        found(
            "password",
            "is set beside redis.password_file; keep one of them",
        );
    }
    match (&redis.tls_cert_file, &redis.tls_key_file) {
        (Some(_), None) => found(
            "tls_key_file",
            "is missing beside redis.tls_cert_file; set both or neither",
        ),
        (None, Some(_)) => found(
            "tls_cert_file",
            "is missing beside redis.tls_key_file; set both or neither",
        ),
        _ => {}
    }
}

fn service(config: &Config, found: &mut impl FnMut(String, &str)) {
    if config.shards.transaction_age >= config.kafka.transaction_timeout {
        found(
            "shards.transaction_age".to_owned(),
            "is not less than kafka.transaction_timeout, after which the broker aborts a transaction; make it smaller",
        );
    }
    http(&config.http, found);
    for directive in config.log.level.split(',') {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level)
            .trim();
        let known = ["off", "error", "warn", "info", "debug", "trace"];
        if !known.iter().any(|word| level.eq_ignore_ascii_case(word)) {
            let message = format!(
                "holds `{}`, which is no level; write one of {}, or a filter such as info,lockgate::mirror=debug",
                text::short(level),
                known.join(", ")
            );
            found("log.level".to_owned(), &message);
        }
    }
}

fn http(http: &Http, found: &mut impl FnMut(String, &str)) {
    let guarded = http.tokens_file.is_some() && http.tls();
    if !http.listen.ip().is_loopback() && !guarded && !http.allow_remote {
        found(
            "http.listen".to_owned(),
            "is reachable from other machines without tokens and TLS; set http.tokens_file, http.tls_cert_file and \
             http.tls_key_file, or listen on 127.0.0.1, or set http.allow_remote = true where the network itself keeps others out",
        );
    }
    match (&http.tls_cert_file, &http.tls_key_file) {
        (Some(_), None) => found(
            "http.tls_key_file".to_owned(),
            "is missing beside http.tls_cert_file; set both or neither",
        ),
        (None, Some(_)) => found(
            "http.tls_cert_file".to_owned(),
            "is missing beside http.tls_key_file; set both or neither",
        ),
        _ => {}
    }
    for (index, host) in http.hosts.iter().enumerate() {
        if host.contains(['/', ' ', '*'])
            || host
                .rsplit_once(':')
                .is_some_and(|(_, port)| is_number(port))
        {
            found(
                format!("http.hosts[{index}]"),
                "is no host's name; write it without scheme, port and path, such as \"lockgate.internal\"",
            );
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn one_route(route: &Route, found: &mut impl FnMut(&str, &str)) {
    if !text::is_name(&route.name) {
        found("name", NO_NAME);
    }
    for (index, stream) in route.streams.iter().enumerate() {
        if stream.is_empty() {
            found(
                &format!("streams[{index}]"),
                "is empty; give a stream's name, a range or a glob",
            );
        }
    }
    partition(route, found);
    match &route.value {
        Value::Field(_) => {}
        Value::All(all) if all.all => {}
        Value::All(_) => found(
            "value.all",
            "is false; write true, or choose `field` or `json`",
        ),
        Value::Json(json) => {
            let mut seen = std::collections::BTreeSet::new();
            for (index, member) in json.json.iter().enumerate() {
                if !seen.insert(member.name()) {
                    let message = format!(
                        "gives the JSON object a second member `{}`; take one out or give it another `name`",
                        text::short(member.name())
                    );
                    found(&format!("value.json[{index}]"), &message);
                }
            }
        }
    }
}

fn partition(route: &Route, found: &mut impl FnMut(&str, &str)) {
    let Partitioner {
        hash,
        fold,
        seed,
        reading,
    } = route.partition;
    let hashes_keys = matches!(hash, Hash::Murmur3 | Hash::Murmur2 | Hash::Fnv1a);
    if hashes_keys && route.key == Key::None {
        found(
            "partition.hash",
            "has no key to work on; set `key`, or write \"none\" or \"stream-index\"",
        );
    }
    if hash != Hash::Murmur3 {
        let plain = Partitioner::default();
        let useless = "has a meaning for hash = \"murmur3\" alone; take it out or choose that hash";
        for (name, set) in [
            ("fold", fold != plain.fold),
            ("seed", seed != plain.seed),
            ("reading", reading != plain.reading),
        ] {
            if set {
                found(&format!("partition.{name}"), useless);
            }
        }
    }
}

/// Groups that are watched, and the routes that they read.
fn groups(config: &Config) -> Vec<Problem> {
    let mut seen = std::collections::BTreeSet::new();
    let mut problems = Vec::new();
    for (index, group) in config.migration.groups.iter().enumerate() {
        let mut found = |key: String, message: &str| {
            problems.push(Problem::new(
                format!("migration.groups[{index}].{key}"),
                message,
            ));
        };
        if group.name.is_empty() || !seen.insert(&group.name) {
            found(
                "name".to_owned(),
                "is empty or there twice; give each Kafka consumer group once",
            );
        }
        for (at, route) in group.routes.iter().enumerate() {
            if !config.routes.iter().any(|known| known.name == *route) {
                found(
                    format!("routes[{at}]"),
                    "is the name of no route; write one of them, or leave `routes` out for all",
                );
            }
        }
    }
    problems
}

fn repeated_names(routes: &[Route]) -> Vec<Problem> {
    let mut first = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let earlier = *first.entry(&route.name).or_insert(index);
        if earlier != index {
            let message =
                format!("is the name of routes[{earlier}] too; give each route a name of its own");
            problems.push(Problem::new(format!("routes[{index}].name"), message));
        }
    }
    problems
}
