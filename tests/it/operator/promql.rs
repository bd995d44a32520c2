//! What a PromQL expression names: metrics, the label values it asks for, and the numbers it compares with.
//!
//! Not a parser: it finds each `name{…}` and each comparison with a number, which is all that this project's rules and
//! panels need to be held against what the daemon exposes. Prometheus itself says whether an expression is valid.

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Equal,
    NotEqual,
    Like,
    NotLike,
}

/// One `label op "value"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    pub label: String,
    pub op: Op,
    pub value: String,
}

impl Matcher {
    /// The label values that it names; those of a pattern are its alternatives.
    pub fn values(&self) -> Vec<&str> {
        match self.op {
            Op::Equal | Op::NotEqual => vec![&self.value],
            Op::Like | Op::NotLike => self.value.split('|').collect(),
        }
    }
}

/// One metric with its matchers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<Matcher>,
}

/// Every metric of Lockgate's that an expression selects, in order.
pub fn selectors(expr: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(begin) = rest.find("lockgate_") {
        rest = &rest[begin..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let metric = rest[..end].to_owned();
        rest = &rest[end..];
        let matchers = match rest.strip_prefix('{') {
            Some(inside) => {
                let (inside, after) = inside.split_once('}').expect("a closed selector");
                rest = after;
                matchers(inside)
            }
            None => Vec::new(),
        };
        found.push(Selector { metric, matchers });
    }
    found
}

fn matchers(inside: &str) -> Vec<Matcher> {
    // A value may hold a comma, so pieces end at a closing quote.
    let mut found = Vec::new();
    let mut rest = inside.trim();
    while !rest.is_empty() {
        let (label, after) = rest.split_at(rest.find(['=', '!']).expect("an operator"));
        let (op, after) = match after.as_bytes() {
            [b'=', b'~', ..] => (Op::Like, &after[2..]),
            [b'!', b'~', ..] => (Op::NotLike, &after[2..]),
            [b'!', b'=', ..] => (Op::NotEqual, &after[2..]),
            _ => (Op::Equal, &after[1..]),
        };
        let after = after.trim_start().strip_prefix('"').expect("a quote");
        let (value, after) = after.split_once('"').expect("a closing quote");
        found.push(Matcher {
            label: label.trim().to_owned(),
            op,
            value: value.to_owned(),
        });
        rest = after.trim_start_matches([',', ' ', '\n']);
    }
    found
}

/// The numbers that an expression compares with: `> 60`, `== 0`, as Prometheus or a person writes them.
pub fn compared_with(expr: &str) -> Vec<f64> {
    let mut found = Vec::new();
    // Matchers have operators too.
    let bare: String = outside_braces(expr);
    let mut rest = bare.as_str();
    while let Some(at) = rest.find(['<', '>', '=']) {
        rest = rest[at..].trim_start_matches(['<', '>', '=']).trim_start();
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == 'e'))
            .unwrap_or(rest.len());
        if let Ok(number) = rest[..end].parse() {
            found.push(number);
        }
    }
    found
}

fn outside_braces(expr: &str) -> String {
    let mut depth = 0;
    let kept = expr.chars().filter(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => return depth == 0,
        }
        false
    });
    kept.collect()
}

#[test]
fn metrics_and_matchers_are_found() {
    let found = selectors(
        r#"sum by (migration) (increase(lockgate_a_total{cause=~"x|y", route!="a,b"}[15m])) > 0.5 or lockgate_b == 0"#,
    );
    let matcher = |label: &str, op, value: &str| Matcher {
        label: label.to_owned(),
        op,
        value: value.to_owned(),
    };
    assert_eq!(
        found,
        [
            Selector {
                metric: "lockgate_a_total".to_owned(),
                matchers: vec![
                    matcher("cause", Op::Like, "x|y"),
                    matcher("route", Op::NotEqual, "a,b"),
                ],
            },
            Selector {
                metric: "lockgate_b".to_owned(),
                matchers: vec![],
            },
        ]
    );
    assert_eq!(found[0].matchers[0].values(), ["x", "y"]);
}

#[test]
fn numbers_compared_with_are_found_and_no_others() {
    let expr = r#"rate(a{le="0.05"}[5m]) / 7 > 0.001 and b{c=~"1"} >= 10 unless max(d) == 1"#;
    assert_eq!(compared_with(expr), [0.001, 10.0, 1.0]);
}
