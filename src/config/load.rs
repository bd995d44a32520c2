//! Loading: every source merged, every problem found at once, every secret read.
//!
//! serde stops at the first thing it cannot read. So the merged tree is first held against the schema; each fault found
//! there is mended with a stand-in, and the mended tree is read and judged on, with what is said about a mended key left
//! out. A mended configuration is never returned.

use std::path::PathBuf;

use serde_json::Value;

use super::layers::{self, Layer, Merged};
use super::origin::{Origin, Origins, nearest};
use super::path::is_within;
use super::setting::{self, Setting};
use super::shape::{self, Fault};
use super::{
    Config, Http, Problem, Prometheus, Properties, Secret, access, schema, secret, validate,
};

/// Where a configuration comes from; later sources win. No `Debug`: variables hold secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// TOML files, in order. Routes of several files add up; all else is replaced by the later one.
    pub files: Vec<PathBuf>,
    /// The environment; only names that begin with `LOCKGATE_` count.
    pub env: Vec<(String, String)>,
    /// Key and text of each setting from the command line: `("redis.url", "redis://cache/1")`.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// These files and flags, and the environment of this process.
    #[must_use]
    pub fn from_process(files: Vec<PathBuf>, overrides: Vec<(String, String)>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            // What is no UTF-8 is kept recognisable and refused with the variable's name.
            let name = name
                .to_str()
                .filter(|name| name.starts_with("LOCKGATE_"))?
                .to_owned();
            Some((name, value.to_string_lossy().into_owned()))
        };
        Self {
            files,
            env: std::env::vars_os().filter_map(text).collect(),
            overrides,
        }
    }
}

/// A configuration without a problem.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Secrets of files stand in `redis.password` and `kafka.properties`.
    pub config: Config,
    /// Where each key that somebody set came from: `routes[0].topic`.
    pub origins: Origins,
}

impl Loaded {
    /// Where a key's value came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }
}

/// Loads the configuration.
///
/// # Errors
/// All its problems. None of them holds a secret.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<Problem>> {
    load_with(sources, |_| Vec::new())
}

/// Loads the configuration, and asks `also` for the problems that only another part can see (the routes' patterns). It is
/// asked even where there are problems already, so that all are shown at once.
///
/// # Errors
/// All problems, those of `also` among them.
pub fn load_with(
    sources: &Sources,
    also: impl FnOnce(&Config) -> Vec<Problem>,
) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut merged = files(sources)?;
    for setting in settings(sources) {
        if let Err(problem) = setting.apply(&mut merged) {
            problems.push(problem);
        }
    }
    let mut tree = merged.tree();
    let mut origins = merged.origins;
    let faults = mend(&mut tree);
    problems.extend(
        faults
            .iter()
            .map(|fault| Problem::new(fault.path.to_string(), &fault.message)),
    );
    match read(&tree) {
        Ok(mut config) => {
            let mut found = validate::validate(&config);
            found.extend(resolve(&mut config, &mut origins));
            found.extend(also(&config));
            found.retain(|problem| !faults.iter().any(|fault| speaks_of(problem, fault)));
            problems.extend(found);
            if problems.is_empty() {
                return Ok(Loaded { config, origins });
            }
        }
        Err(problem) => problems.push(problem),
    }
    problems
        .iter_mut()
        .for_each(|problem| locate(problem, &origins));
    Err(problems)
}

fn files(sources: &Sources) -> Result<Merged, Vec<Problem>> {
    let mut merged = Merged::default();
    let mut problems = Vec::new();
    for path in &sources.files {
        match layers::file(path) {
            Ok(layer) => merged.add_file(layer),
            Err(found) => problems.extend(found),
        }
    }
    // What a file that cannot be read would have set is unknown: to go on would only invent problems.
    if problems.is_empty() {
        Ok(merged)
    } else {
        Err(problems)
    }
}

/// Variables by name, so that `LOCKGATE_ROUTES` comes before what changes a part of it; then flags as given.
fn settings(sources: &Sources) -> impl Iterator<Item = Setting<'_>> {
    let mut variables: Vec<_> = sources.env.iter().collect();
    variables.sort();
    let variables = variables
        .into_iter()
        .filter_map(|(name, text)| setting::of_variable(name, text));
    let flags = sources
        .overrides
        .iter()
        .map(|(key, text)| setting::of_flag(key, text));
    variables.chain(flags)
}

/// Puts what stands in for it in the place of everything of the wrong shape.
fn mend(tree: &mut Value) -> Vec<Fault> {
    let faults = shape::check(tree, schema::root());
    for fault in &faults {
        fault.path.put(tree, fault.remedy.clone());
    }
    faults
}

/// Whether a problem may come of what stands in for a value. What was taken away without a stand-in explains none above it.
fn speaks_of(problem: &Problem, fault: &Fault) -> bool {
    let mended = fault.path.to_string();
    is_within(&problem.key, &mended) || (fault.remedy.is_some() && is_within(&mended, &problem.key))
}

fn read(tree: &Value) -> Result<Config, Problem> {
    let layer = Layer {
        tree: tree.as_object().cloned().unwrap_or_default(),
        ..Layer::default()
    };
    // The error's own text might hold the value.
    figment::Figment::from(&layer).extract().map_err(|error| {
        Problem::new(
            error.path.join("."),
            "has a value that cannot be read; see `lockgate config reference`",
        )
    })
}

/// Reads the files of secrets into the keys they stand for, and tries the others that must be readable.
fn resolve(config: &mut Config, origins: &mut Origins) -> Vec<Problem> {
    let mut problems = Vec::new();
    let redis = &mut config.redis;
    if let Some(path) = &redis.password_file {
        match secret::read(path) {
            Ok(text) => {
                redis.password = Some(Secret::new(text));
                origins.insert(
                    "redis.password".to_owned(),
                    Origin::SecretFile(path.clone()),
                );
            }
            Err(message) => problems.push(Problem::new("redis.password_file", message)),
        }
    }
    for (name, path) in [
        ("tls_ca_file", &redis.tls_ca_file),
        ("tls_cert_file", &redis.tls_cert_file),
        ("tls_key_file", &redis.tls_key_file),
    ] {
        if let Some(Err(message)) = path.as_ref().map(|path| secret::read(path)) {
            problems.push(Problem::new(format!("redis.{name}"), message));
        }
    }
    let mut read = Properties::default();
    for (name, path) in &config.kafka.property_files {
        match secret::read(path) {
            Ok(text) => {
                read.insert(name.clone(), text);
                origins.insert(
                    format!("kafka.properties.{name}"),
                    Origin::SecretFile(path.clone()),
                );
            }
            Err(message) => problems.push(Problem::new(
                format!("kafka.property_files.{name}"),
                message,
            )),
        }
    }
    config.kafka.properties.append(&mut read);
    problems.extend(resolve_http(&mut config.http));
    problems.extend(resolve_prometheus(&mut config.prometheus, origins));
    problems
}

fn resolve_prometheus(prometheus: &mut Prometheus, origins: &mut Origins) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, path, secret) in [
        (
            "password",
            &prometheus.password_file,
            &mut prometheus.password,
        ),
        ("token", &prometheus.token_file, &mut prometheus.token),
    ] {
        let Some(path) = path else { continue };
        match secret::read(path) {
            Ok(text) => {
                *secret = Some(Secret::new(text));
                origins.insert(
                    format!("prometheus.{name}"),
                    Origin::SecretFile(path.clone()),
                );
            }
            Err(message) => {
                problems.push(Problem::new(format!("prometheus.{name}_file"), message));
            }
        }
    }
    if let Some(path) = &prometheus.tls_ca_file
        && let Err(message) = secret::read(path)
    {
        problems.push(Problem::new("prometheus.tls_ca_file", message));
    }
    problems
}

fn resolve_http(http: &mut Http) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(path) = &http.tokens_file {
        match access::read_tokens(path) {
            Ok(tokens) => http.tokens = tokens,
            Err(message) => problems.push(Problem::new("http.tokens_file", message)),
        }
    }
    for (name, path) in [
        ("tls_cert_file", &http.tls_cert_file),
        ("tls_key_file", &http.tls_key_file),
    ] {
        if let Some(Err(message)) = path.as_ref().map(|path| secret::read(path)) {
            problems.push(Problem::new(format!("http.{name}"), message));
        }
    }
    problems
}

/// Says where the key at fault stands.
fn locate(problem: &mut Problem, origins: &Origins) {
    if let Some(origin) = nearest(origins, &problem.key) {
        problem.message = format!("{} ({origin})", problem.message);
    }
}

#[cfg(test)]
mod tests;
