//! What is asked of a Prometheus: one number for each measure, or the buckets of a latency, as of now.
//!
//! An instant query answers with the newest sample within its lookback, whatever its age; so the lookback is given, and a
//! series that ended longer ago than that is absent here and not old. No series, several series, and what is no number, are
//! no evidence.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use serde_json::Value;

use crate::config::{self, Query, Secret};
use crate::migration::driver::{Handle, now_ms};
use crate::migration::gate::{Bucket, Limits, Measure, Reading, Sample, beyond, millis};

/// Characters of Prometheus' own words that are passed on.
const WORDS: usize = 200;

pub struct Queries {
    config: config::Prometheus,
    /// Or why there is none.
    agent: Result<ureq::Agent, String>,
}

impl Queries {
    pub fn new(config: config::Prometheus) -> Self {
        let agent = agent(&config);
        Self { config, agent }
    }

    pub fn every(&self) -> Duration {
        self.config.every
    }

    /// Asks everything once and puts down what was answered.
    pub async fn ask(&self, handle: &Handle) {
        let Some(url) = &self.config.url else { return };
        let endpoint = format!("{}/api/v1/query", url.trim_end_matches('/'));
        for query in &self.config.queries {
            let asked = Asked {
                agent: self.agent.clone(),
                endpoint: endpoint.clone(),
                authorization: authorization(&self.config),
                lookback: format!("{}ms", self.config.freshness.as_millis()),
                limits: handle.limits,
            };
            let of_query = query.clone();
            let answered = tokio::task::spawn_blocking(move || asked.measure(&of_query));
            if let Some(sample) = crate::tasks::passed_on(answered.await) {
                handle.measurements.put(sample);
            }
        }
    }
}

fn agent(config: &config::Prometheus) -> Result<ureq::Agent, String> {
    let mut settings = ureq::Agent::config_builder()
        .timeout_global(Some(config.timeout))
        .http_status_as_error(false)
        .max_redirects(0);
    if config
        .url
        .as_ref()
        .is_some_and(|url| url.starts_with("https://"))
    {
        let authorities = config.tls_ca_file.as_deref();
        settings = settings.tls_config(config::client_tls(authorities, "prometheus.tls_ca_file")?);
    }
    Ok(settings.build().new_agent())
}

/// Who asks.
fn authorization(config: &config::Prometheus) -> Option<Secret> {
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|one| one.expose().to_owned());
    if let (Some(user), Some(password)) = (&config.username, secret(&config.password)) {
        let both = STANDARD.encode(format!("{user}:{password}"));
        return Some(Secret::new(format!("Basic {both}")));
    }
    secret(&config.token).map(|token| Secret::new(format!("Bearer {token}")))
}

struct Asked {
    agent: Result<ureq::Agent, String>,
    endpoint: String,
    authorization: Option<Secret>,
    lookback: String,
    limits: Limits,
}

impl Asked {
    /// `None`: this version knows no such measure.
    fn measure(&self, query: &Query) -> Option<Sample> {
        let measure = Measure::named(query.measure.as_str())?;
        // Dated before it is asked, so that a slow answer is not taken for a young one.
        let at_ms = now_ms();
        let reading = self
            .reading(measure, query, at_ms)
            .unwrap_or_else(Reading::Unknown);
        let known = !matches!(reading, Reading::Unknown(_));
        let reading = if known && !measure.shape().fits(&reading) {
            Reading::Unknown(format!(
                "the query gives what is no {measure}; {}",
                measure.shape().wanted()
            ))
        } else {
            reading
        };
        Some(Sample {
            measure,
            reading,
            at_ms,
        })
    }

    fn reading(&self, measure: Measure, query: &Query, at_ms: i64) -> Result<Reading, String> {
        let counted = |faults, total| Reading::Counted {
            faults,
            total,
            since_ms: at_ms.saturating_sub(millis(query.window)),
        };
        if let (Some(limit), Some(expression)) = (self.limits.on(measure), &query.buckets) {
            let (late, total) = beyond(limit, &buckets(&self.answer(expression)?)?)?;
            return Ok(counted(late, total));
        }
        match (&query.value, &query.faults, &query.total) {
            (Some(value), None, None) => self.number(value).map(Reading::Value),
            (None, Some(faults), Some(total)) => {
                let (faults, total) = (self.number(faults)?, self.number(total)?);
                // Prometheus extrapolates counts: up against it for faults, down for what they are held against.
                Ok(counted(whole(faults.ceil()), whole(total.floor())))
            }
            _ => Err("neither a value nor faults and total are configured".to_owned()),
        }
    }

    fn number(&self, expression: &str) -> Result<f64, String> {
        number(&self.answer(expression)?)
    }

    /// What the query gives.
    fn answer(&self, expression: &str) -> Result<Value, String> {
        let form = [
            ("query", expression),
            ("lookback_delta", self.lookback.as_str()),
        ];
        let mut request = self
            .agent
            .as_ref()
            .map_err(Clone::clone)?
            .post(&self.endpoint);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.expose());
        }
        let mut answer = request
            .send_form(form)
            .map_err(|error| format!("Prometheus: {error}"))?;
        if matches!(answer.status().as_u16(), 401 | 403) {
            return Err(format!(
                "Prometheus refuses who asks ({}); see prometheus.username and prometheus.token",
                answer.status().as_u16()
            ));
        }
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|error| format!("Prometheus: {error}"))?;
        let body: Value = serde_json::from_str(&text)
            .map_err(|_| format!("Prometheus answers {} and no JSON", answer.status()))?;
        given(body)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and a count is not below 0"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

/// What an answer holds, if it is one.
fn given(mut body: Value) -> Result<Value, String> {
    if body["status"] != "success" {
        let words = body["error"].as_str().unwrap_or("no reason given");
        let words: String = words.chars().take(WORDS).collect();
        return Err(format!("Prometheus refuses the query: {words}"));
    }
    Ok(body["data"].take())
}

/// The buckets of one histogram: a series for each bound.
fn buckets(data: &Value) -> Result<Vec<Bucket>, String> {
    let series = data["result"].as_array().map_or(&[][..], Vec::as_slice);
    if data["resultType"] != "vector" || series.is_empty() {
        return Err("the query finds no buckets, or none that are fresh".to_owned());
    }
    let mut found: Vec<Bucket> = Vec::new();
    for one in series {
        let bound = one["metric"]["le"].as_str().and_then(|le| le.parse().ok());
        let (Some(bound), Ok(count)) = (bound, finite(&one["value"])) else {
            return Err(
                "the query gives series that are no buckets; keep the label `le`".to_owned(),
            );
        };
        if found.iter().any(|known| known.bound == bound) {
            return Err(format!(
                "the query gives two series for the bound {bound}; write sum by (le)"
            ));
        }
        found.push(Bucket { bound, count });
    }
    Ok(found)
}

/// The one number of an answer.
fn number(data: &Value) -> Result<f64, String> {
    let value = match data["resultType"].as_str() {
        Some("scalar") => &data["result"],
        Some("vector") => match data["result"].as_array().map(Vec::as_slice) {
            Some([one]) => &one["value"],
            Some([]) => {
                return Err("the query finds no series, or none that is fresh".to_owned());
            }
            several => {
                let found = several.map_or(0, <[Value]>::len);
                return Err(format!(
                    "the query finds {found} series where one number is wanted; aggregate them"
                ));
            }
        },
        other => {
            return Err(format!(
                "the query gives a {} where one number is wanted",
                other.unwrap_or("nothing")
            ));
        }
    };
    finite(value)
}

fn finite(value: &Value) -> Result<f64, String> {
    let text = value[1].as_str().unwrap_or_default();
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("the query gives `{text}`, which is no number"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(values: &[&str]) -> Value {
        let result: Vec<_> = values
            .iter()
            .map(|value| json!({ "metric": {}, "value": [1_800_000_000.1, value] }))
            .collect();
        json!({ "status": "success", "data": { "resultType": "vector", "result": result } })
    }

    #[test]
    fn one_finite_number_is_evidence_and_nothing_else_is() {
        let number = |body: &Value| number(&given(body.clone())?);
        assert_eq!(number(&vector(&["0.25"])), Ok(0.25));
        let scalar = json!({ "status": "success", "data": { "resultType": "scalar", "result": [1.0, "7"] } });
        assert_eq!(number(&scalar), Ok(7.0));
        for (body, says) in [
            (vector(&[]), "no series"),
            (vector(&["1", "2"]), "2 series"),
            (vector(&["NaN"]), "no number"),
            (vector(&["+Inf"]), "no number"),
            (
                json!({ "status": "error", "error": "parse error" }),
                "parse error",
            ),
            (
                json!({ "status": "success", "data": { "resultType": "matrix", "result": [] } }),
                "matrix",
            ),
            (json!({}), "refuses"),
        ] {
            let why = number(&body).expect_err("no evidence");
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn the_configuration_asks_for_each_measure_in_the_form_in_which_it_is_judged() {
        use crate::config::Asked;
        for measure in Measure::ALL {
            let name = serde_json::Value::from(measure.as_str());
            let asked: Result<Asked, _> = serde_json::from_value(name);
            let Ok(asked) = asked else { continue };
            let counted = measure.shape() == crate::migration::gate::Shape::Counts;
            assert_eq!(asked.is_counted(), counted, "{measure}");
        }
    }

    #[test]
    fn a_histogram_is_a_series_for_each_bound() {
        let told = |series: &[(&str, &str)]| {
            let series = series.iter();
            let result: Vec<_> = series
                .map(|(le, count)| json!({ "metric": { "le": le }, "value": [1.0, count] }))
                .collect();
            buckets(&json!({ "resultType": "vector", "result": result }))
        };
        let found = told(&[("5e-3", "7"), ("+Inf", "9.5")]).expect("buckets");
        let found: Vec<_> = found.iter().map(|one| (one.bound, one.count)).collect();
        assert_eq!(found, [(0.005, 7.0), (f64::INFINITY, 9.5)]);
        for (series, says) in [
            (&[][..], "no buckets"),
            (&[("", "7")], "label `le`"),
            (&[("1", "NaN")], "no buckets; keep"),
            (&[("1", "7"), ("1.0", "7")], "sum by (le)"),
        ] {
            let why = told(series).expect_err("no evidence");
            assert!(why.contains(says), "{why}");
        }
        let scalar = json!({ "resultType": "scalar", "result": [1.0, "7"] });
        assert!(buckets(&scalar).is_err());
    }

    #[test]
    fn who_asks_is_said_as_configured() {
        let said = |config: config::Prometheus| {
            authorization(&config).map(|secret| secret.expose().to_owned())
        };
        let ana = config::Prometheus {
            username: Some("ana".to_owned()),
            password: Some(Secret::new("a secret")),
            ..config::Prometheus::default()
        };
        assert_eq!(said(ana).as_deref(), Some("Basic YW5hOmEgc2VjcmV0"));
        let token = config::Prometheus {
            token: Some(Secret::new("t0ken")),
            ..config::Prometheus::default()
        };
        assert_eq!(said(token).as_deref(), Some("Bearer t0ken"));
        assert_eq!(said(config::Prometheus::default()), None);
    }

    #[test]
    fn counts_are_rounded_to_the_safe_side() {
        assert_eq!((whole(0.2_f64.ceil()), whole(99.9_f64.floor())), (1, 99));
        assert_eq!(whole(-3.0), 0);
    }
}
