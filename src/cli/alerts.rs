//! `lockgate alerts`: the alert rules, with links to runbooks that whoever is paged can open.

use ureq::http::Uri;

use super::Exit;
use super::output::{Output, print, print_json};

const RULES: &str = include_str!("../../config/prometheus/alerts.yml");
const EXPORTERS: &str = include_str!("../../config/prometheus/alerts.exporters.yml");

/// What the links of the rules begin with, as they stand in the files.
const BASE: &str = "http://127.0.0.1:8474";

/// The alert rules for Prometheus
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Print(PrintArgs),
}

/// Print the alert rules, as a rule file of Prometheus
///
/// Every alert links to its runbook at a daemon. The links are to lead to one that whoever is paged can reach; each daemon has
/// all runbooks.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: lockgate alerts print --base-url https://lockgate.internal:8474 > /etc/prometheus/lockgate.yml"
)]
struct PrintArgs {
    /// Where a daemon can be reached by people
    #[arg(long, value_name = "URL", default_value = BASE, value_parser = base_url)]
    base_url: String,
    /// The rules on brokers' disks and followers alone, on what JMX exporter and node_exporter show: for who has no such
    /// query in [[prometheus.queries]]
    #[arg(long)]
    exporters: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn base_url(text: &str) -> Result<String, String> {
    let wanted = "give http://HOST:PORT or https://HOST:PORT, and a path if there is one";
    let url: Uri = text.parse().map_err(|error| format!("{error}; {wanted}"))?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    // A quote or a hash would end the text in the rule file early.
    if !known || url.query().is_some() || text.contains(['"', '\'', '#']) {
        return Err(wanted.to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Verb::Print(args) = &args.verb;
    let rules = if args.exporters { EXPORTERS } else { RULES };
    let rules = linked(rules, &args.base_url);
    match args.output {
        Output::Text => print(&rules)?,
        Output::Json => print_json(&serde_json::json!({ "yaml": rules }))?,
    }
    Ok(Exit::Done)
}

fn linked(rules: &str, base: &str) -> String {
    let link = format!("runbook_url: {BASE}");
    rules.replace(&link, &format!("runbook_url: {base}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::migration::Tripwires;

    #[test]
    fn every_link_leads_to_the_base_and_nothing_else_changes() {
        for rules in [RULES, EXPORTERS] {
            let base = "https://lockgate.internal/steer";
            let printed = linked(rules, base);
            let links = |text: &str, base: &str| {
                let link = format!("runbook_url: {base}/runbooks/Lockgate");
                text.matches(&link).count()
            };
            let alerts = rules.matches("- alert: ").count();
            assert!(alerts > 0);
            assert_eq!((links(&printed, base), links(&printed, BASE)), (alerts, 0));
            assert_eq!(linked(&printed.replace(base, BASE), BASE), rules);
        }
    }

    #[test]
    fn what_exporters_tell_raises_the_same_alerts() {
        let names = |rules: &'static str| {
            let lines = rules.lines();
            let names = lines.filter_map(|line| line.trim().strip_prefix("- alert: "));
            names.collect::<Vec<&str>>()
        };
        let known = names(RULES);
        assert!(!names(EXPORTERS).is_empty());
        for name in names(EXPORTERS) {
            assert!(known.contains(&name), "{name}");
        }
    }

    /// The first number that an alert's expression is compared with.
    fn threshold(rules: &str, alert: &str) -> Option<f64> {
        let (_, rule) = rules.split_once(&format!("- alert: {alert}\n"))?;
        let (expr, _) = rule.split_once("labels:")?;
        let words: Vec<&str> = expr.split_whitespace().collect();
        let mut compared = words.windows(2).filter(|two| matches!(two[0], ">" | "<"));
        compared.find_map(|two| two[1].parse().ok())
    }

    #[test]
    fn what_pages_or_tells_of_a_tripwires_measure_has_its_default_threshold() {
        let tripwires = Tripwires::default();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let entries = tripwires.group_lag.beyond as f64;
        let share = |ppm: u32| f64::from(ppm) / 1e6;
        let seconds = tripwires.replication_lag.beyond.as_secs_f64();
        for (alert, default, both) in [
            ("LockgateGroupLagExplosion", entries, false),
            (
                "LockgateGroupThroughputLow",
                share(tripwires.throughput.beyond),
                false,
            ),
            ("LockgateKafkaReplicationLag", seconds, true),
            ("LockgateKafkaDiskHigh", share(tripwires.disk.beyond), true),
        ] {
            assert_eq!(threshold(RULES, alert), Some(default), "{alert}");
            let exporters = both.then_some(default);
            assert_eq!(threshold(EXPORTERS, alert), exporters, "{alert}, exporters");
        }
    }

    #[test]
    fn a_base_is_an_address_that_a_rule_can_hold() {
        for (given, wanted) in [
            ("https://lockgate.internal/", "https://lockgate.internal"),
            ("http://10.0.0.7:8474", "http://10.0.0.7:8474"),
            (
                "https://ops.example/lockgate",
                "https://ops.example/lockgate",
            ),
        ] {
            assert_eq!(base_url(given).as_deref(), Ok(wanted));
        }
        for wrong in [
            "",
            "lockgate.internal",
            "ftp://lockgate.internal",
            "https://",
            "https://a b",
            "https://a/?b=c",
            "https://a/#b",
            "https://a/\"b",
            "/runbooks",
        ] {
            assert!(base_url(wrong).is_err(), "{wrong}");
        }
    }
}
