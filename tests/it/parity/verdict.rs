//! What `lockgate parity verify --output json` said, held against what a test knows to be there: every finding, no other,
//! each class's count, and the sums.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use serde_json::Value;

use super::hand::Place;

const CLASSES: [&str; 10] = [
    "match",
    "missing",
    "extra",
    "duplicate",
    "mismatch",
    "misplaced",
    "reordered",
    "pending",
    "unverifiable",
    "dead_lettered",
];
const FAULTS: [&str; 6] = [
    "missing",
    "extra",
    "duplicate",
    "mismatch",
    "misplaced",
    "reordered",
];

/// One identity that is no match, and where its records lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub class: String,
    pub stream: Option<String>,
    pub id: Option<String>,
    pub parts: Vec<String>,
    pub why: Option<String>,
    pub topic: String,
    pub expected_partition: Option<i32>,
    pub records: Vec<Place>,
}

impl Finding {
    fn read(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        let number = |value: &Value| value.as_i64().expect("a number");
        let mut records: Vec<Place> = list("records")
            .iter()
            .map(|place| {
                let partition = number(&place["partition"]).try_into().unwrap();
                (partition, number(&place["offset"]))
            })
            .collect();
        records.sort_unstable();
        Self {
            class: text("class").expect("a class"),
            stream: text("stream"),
            id: text("id"),
            parts: list("parts")
                .iter()
                .map(|part| part.as_str().unwrap().to_owned())
                .collect(),
            why: text("why"),
            topic: text("topic").expect("a topic"),
            expected_partition: value["expected_partition"]
                .as_i64()
                .map(|partition| partition.try_into().unwrap()),
            records,
        }
    }

    fn is_fault(&self) -> bool {
        FAULTS.contains(&self.class.as_str())
    }

    fn is_gone_from_redis(&self) -> bool {
        let why = self.why.as_deref().unwrap_or_default();
        self.class == "extra" || (self.class == "unverifiable" && why.starts_with("redis-"))
    }
}

/// Everything that must be said.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    pub findings: Vec<Finding>,
    pub redis_entries: u64,
    pub kafka_records: u64,
    pub pending: u64,
    pub dead_lettered: u64,
    /// Where the record of each entry lies, by the entry's number.
    pub places: BTreeMap<usize, Place>,
}

impl Expectation {
    /// The script does not know of this one.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub fn faults(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.is_fault())
            .count()
    }

    /// Each class's count, as it follows from the findings: what is in no other class is a match.
    fn classes(&self) -> BTreeMap<&str, u64> {
        let mut classes: BTreeMap<&str, u64> = CLASSES.into_iter().map(|name| (name, 0)).collect();
        for finding in &self.findings {
            *classes.get_mut(finding.class.as_str()).unwrap() += 1;
        }
        classes.insert("pending", self.pending);
        classes.insert("dead_lettered", self.dead_lettered);
        let rest: u64 = classes.values().sum();
        classes.insert("match", self.redis_entries + self.only_kafka() - rest);
        classes
    }

    fn only_kafka(&self) -> u64 {
        let only = self.findings.iter().filter(|one| one.is_gone_from_redis());
        only.count() as u64
    }

    fn only_redis(&self) -> u64 {
        let without = self.findings.iter().filter(|one| one.records.is_empty());
        without.count() as u64 + self.pending
    }

    fn copies(&self) -> u64 {
        let copies = self
            .findings
            .iter()
            .map(|one| one.records.len().saturating_sub(1));
        copies.sum::<usize>() as u64
    }
}

/// The outcome of one `verify`.
pub struct Verified {
    pub code: Option<i32>,
    pub json: Value,
    pub said: String,
}

impl Verified {
    #[track_caller]
    pub fn of(output: Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8_lossy(&output.stdout);
        let json = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: no JSON ({error}): {text}\n{said}", output.status));
        Self {
            code: output.status.code(),
            json,
            said,
        }
    }

    pub fn count(&self, class: &str) -> u64 {
        self.json["counts"]["classes"][class].as_u64().unwrap()
    }

    /// All that is listed, but for what is on its way or accounted for.
    pub fn findings(&self) -> Vec<Finding> {
        let listed = self.json["differences"].as_array().expect("differences");
        let mut findings: Vec<_> = listed.iter().map(Finding::read).collect();
        findings.retain(|one| one.is_fault() || one.class == "unverifiable");
        findings.sort();
        findings
    }

    /// Exactly these findings, these counts, and the verdict that follows from them.
    #[track_caller]
    pub fn assert_is(&self, expected: &Expectation) {
        let mut wrong = self.differing(expected);
        for (class, count) in expected.classes() {
            let found = &self.json["counts"]["classes"][class];
            if found.as_u64() != Some(count) {
                wrong.push(format!("{count} {class}, said: {found}"));
            }
        }
        let sums = [
            ("redis_entries", expected.redis_entries),
            ("kafka_records", expected.kafka_records),
            ("only_kafka", expected.only_kafka()),
            ("only_redis", expected.only_redis()),
            ("copies", expected.copies()),
        ];
        for (name, count) in sums {
            let found = &self.json["counts"][name];
            if found.as_u64() != Some(count) {
                wrong.push(format!("{name} {count}, said: {found}"));
            }
        }
        let (verdict, code) = match expected.faults() {
            0 => ("level", 0),
            _ => ("apart", 5),
        };
        if (self.json["verdict"].as_str(), self.code) != (Some(verdict), Some(code)) {
            let said = &self.json["verdict"];
            wrong.push(format!("{verdict}, {code}; said: {said}, {:?}", self.code));
        }
        wrong.extend(self.adding_up());
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), self.said);
    }

    /// Every fault must be named. Of what is unverifiable there may be millions: one of each reason must be named at least,
    /// and what is named must be true.
    fn differing(&self, expected: &Expectation) -> Vec<String> {
        let mut invented = self.findings();
        let mut wrong = Vec::new();
        let (mut named, mut reasons) = (BTreeSet::new(), BTreeSet::new());
        for finding in &expected.findings {
            let why = finding.why.as_deref();
            match invented.iter().position(|found| found == finding) {
                Some(index) => {
                    named.insert(why);
                    invented.swap_remove(index);
                }
                None if finding.is_fault() => wrong.push(format!("not found: {finding:?}")),
                None => {}
            }
            if !finding.is_fault() {
                reasons.insert(why);
            }
        }
        wrong.extend(
            reasons
                .difference(&named)
                .map(|why| format!("no example of {why:?}")),
        );
        wrong.extend(
            invented
                .iter()
                .map(|finding| format!("invented:  {finding:?}")),
        );
        wrong
    }

    /// The sums that are promised, reckoned again: over everything and over each route, and the routes together.
    fn adding_up(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let routes: Vec<&Value> = self.json["routes"].as_object().unwrap().values().collect();
        for counts in routes.iter().copied().chain([&self.json["counts"]]) {
            let of = |name: &str| counts[name].as_u64().unwrap();
            let classes = counts["classes"].as_object().unwrap();
            let total: u64 = classes.values().map(|count| count.as_u64().unwrap()).sum();
            let sums = total == of("redis_entries") + of("only_kafka")
                && of("kafka_records") + of("only_redis") == total + of("copies");
            if !sums || counts["adds_up"] != true || classes.len() != CLASSES.len() {
                wrong.push(format!("does not add up: {counts}"));
            }
        }
        for class in CLASSES {
            let routed = routes
                .iter()
                .map(|counts| counts["classes"][class].as_u64().unwrap());
            if routed.sum::<u64>() != self.count(class) {
                wrong.push(format!("the routes do not add up in {class}"));
            }
        }
        wrong
    }
}
