//! The state file: where a verification stands, cursor and counters in one record, so that an interrupted one goes on
//! without counting anything twice.
//!
//! Each save is written whole beside the file and renamed into its place: whoever reads it finds the one before or the
//! one after. It belongs to one run, told by the stores it reads, by the words it was asked for in and by the configuration's
//! fingerprint; a file of another run is refused and left as it is: positions in one cluster say nothing of another.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::select::Asked;

const SCHEMA: &str = "lockgate.parity-state/v2";
/// How often it is saved.
const EVERY: Duration = Duration::from_secs(1);
/// A save of a very long state is due this many times later than it took, so that saving never becomes the work.
const COST: u32 = 20;

/// Which run a state belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub migration: String,
    /// Of the configuration.
    pub fingerprint: String,
    /// `None` in a file of a version that did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores: Option<Stores>,
    pub asked: Asked,
}

/// Where both stores are asked. No secret is in an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stores {
    pub redis: String,
    /// Brokers to ask first, in one order.
    pub kafka: String,
}

impl Stores {
    #[must_use]
    pub fn at(redis: &str, brokers: &[String]) -> Self {
        let mut brokers = brokers.to_vec();
        brokers.sort_unstable();
        Self {
            redis: redis.to_owned(),
            kafka: brokers.join(","),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Kept<V> {
    schema: String,
    run: Run,
    verification: V,
}

/// A run's state file.
pub struct StateFile {
    path: PathBuf,
    run: Run,
    due: Option<Instant>,
}

impl StateFile {
    #[must_use]
    pub fn new(path: &Path, run: Run) -> Self {
        Self {
            path: path.to_owned(),
            run,
            due: None,
        }
    }

    /// What is checked is the report with this last link.
    pub fn is_against(&mut self, chain: &str) {
        self.run.asked.against = Some(chain.to_owned());
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where this run stood; `None`: it has not begun.
    ///
    /// # Errors
    /// The file cannot be read, or is that of another run: in words, exit code 2.
    pub fn load<V: DeserializeOwned>(&self) -> Result<Option<V>, String> {
        let shown = self.path.display();
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match self.path.parent() {
                    Some(folder) if folder != Path::new("") && !folder.is_dir() => Err(format!(
                        "state file {shown}: there is no folder {}",
                        folder.display()
                    )),
                    _ => Ok(None),
                };
            }
            Err(error) => return Err(format!("state file {shown}: {error}")),
        };
        let no_state = |error: serde_json::Error| {
            format!(
                "{shown} is no state file that this version can read ({error}); give another --state, or remove it to begin anew"
            )
        };
        let head: Kept<IgnoredAny> = serde_json::from_slice(&text).map_err(no_state)?;
        if head.schema != SCHEMA {
            return Err(format!(
                "{shown} is of `{}`, and this version reads `{SCHEMA}`; give another --state, or remove it to begin anew",
                head.schema
            ));
        }
        if let Some(other) = difference(&head.run, &self.run) {
            return Err(format!(
                "state file {shown} is of another run: {other}; give another --state, or remove it to begin anew"
            ));
        }
        let kept: Kept<V> = serde_json::from_slice(&text).map_err(no_state)?;
        Ok(Some(kept.verification))
    }

    /// Saves where a save is due.
    ///
    /// # Errors
    /// The file cannot be written; the one before is still there.
    pub fn keep(&mut self, verification: &impl Serialize) -> io::Result<()> {
        if self.due.is_some_and(|due| Instant::now() < due) {
            return Ok(());
        }
        self.save(verification)
    }

    /// # Errors
    /// As [`keep`](Self::keep).
    pub fn save(&mut self, verification: &impl Serialize) -> io::Result<()> {
        let began = Instant::now();
        let kept = Kept {
            schema: SCHEMA.to_owned(),
            run: self.run.clone(),
            verification,
        };
        let saved = serde_json::to_vec(&kept)
            .map_err(io::Error::other)
            .and_then(|text| replace(&self.path, &text));
        let now = Instant::now();
        self.due = Some(now + EVERY.max(now.duration_since(began) * COST));
        saved
    }

    /// Nothing is left to go on with.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Puts a file in a path's place, whole or not at all.
///
/// # Errors
/// It cannot be written; what was there before is still there.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(path.as_os_str());
    name.push(".part");
    let part = PathBuf::from(name);
    let mut file = File::create(&part)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&part, path)
}

/// What differs between the run that a file is of and this one.
fn difference(kept: &Run, now: &Run) -> Option<String> {
    let option = |name: &str, value: &Option<String>| {
        value.as_ref().map_or_else(
            || format!("no --{name}"),
            |value| format!("--{name} {value}"),
        )
    };
    let of_database = |asked: &Asked| asked.database.map(|database| database.to_string());
    let (old, new) = (&kept.asked, &now.asked);
    let pairs = [
        ("route", old.route.clone(), new.route.clone()),
        ("stream", old.stream.clone(), new.stream.clone()),
        ("database", of_database(old), of_database(new)),
        ("from", old.from.clone(), new.from.clone()),
        ("to", old.to.clone(), new.to.clone()),
    ];
    if kept.migration != now.migration {
        return Some(format!(
            "of migration `{}`, and this one is `{}`",
            kept.migration, now.migration
        ));
    }
    if let (Some(old), Some(new)) = (&kept.stores, &now.stores) {
        let stores = [
            ("Redis", &old.redis, &new.redis),
            ("Kafka", &old.kafka, &new.kafka),
        ];
        if let Some((name, old, new)) = stores.iter().find(|(_, old, new)| old != new) {
            return Some(format!(
                "it read {name} at {old}, this one reads it at {new}"
            ));
        }
    }
    if let Some((name, old, new)) = pairs.iter().find(|(_, old, new)| old != new) {
        return Some(format!(
            "it was asked with {}, this one with {}",
            option(name, old),
            option(name, new)
        ));
    }
    if old.against != new.against {
        return Some(match (&old.against, &new.against) {
            (Some(_), Some(_)) => "it was asked with --against another report".to_owned(),
            (old, _) => format!(
                "it was asked with{} --against",
                if old.is_some() { "" } else { "out" }
            ),
        });
    }
    if old != new {
        return Some("it was asked with another --sample or --full".to_owned());
    }
    (kept.fingerprint != now.fingerprint)
        .then(|| "the routes of the configuration have changed since".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(redis: &str, kafka: &[&str]) -> Stores {
        let brokers: Vec<String> = kafka.iter().map(ToString::to_string).collect();
        Stores::at(redis, &brokers)
    }

    fn run(route: &str, fingerprint: &str) -> Run {
        Run {
            migration: "m".to_owned(),
            fingerprint: fingerprint.to_owned(),
            stores: Some(stores("redis://a:6379/0", &["a:9092"])),
            asked: Asked {
                route: Some(route.to_owned()),
                ..Asked::default()
            },
        }
    }

    #[test]
    fn what_was_saved_is_read_back_by_the_same_run_and_gone_when_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut file = StateFile::new(&path, run("a", "1"));
        assert_eq!(file.load::<u64>(), Ok(None));
        file.save(&7_u64).unwrap();
        file.save(&8_u64).unwrap();
        assert_eq!(StateFile::new(&path, run("a", "1")).load(), Ok(Some(8_u64)));
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["state.json"], "nothing is left beside it");
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.load::<u64>(), Ok(None));
    }

    #[test]
    fn a_save_that_is_not_due_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = StateFile::new(&folder.path().join("s"), run("a", "1"));
        file.keep(&1_u64).unwrap();
        file.due = Some(Instant::now() + Duration::from_secs(3_600));
        file.keep(&2_u64).unwrap();
        assert_eq!(file.load(), Ok(Some(1_u64)));
        file.due = Some(Instant::now());
        file.keep(&3_u64).unwrap();
        assert_eq!(file.load(), Ok(Some(3_u64)));
    }

    #[test]
    fn a_file_of_another_run_is_refused_with_what_differs_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        StateFile::new(&path, run("a", "1")).save(&7_u64).unwrap();
        let refused = |run| {
            StateFile::new(&path, run)
                .load::<u64>()
                .expect_err("another run")
        };
        assert!(refused(run("b", "1")).contains("--route a, this one with --route b"));
        assert!(refused(run("a", "2")).contains("routes of the configuration have changed"));
        let mut sampled = run("a", "1");
        sampled.asked.full = true;
        assert!(refused(sampled).contains("--sample or --full"));
        let mut renamed = run("a", "1");
        renamed.migration = "n".to_owned();
        assert!(refused(renamed).contains("`m`, and this one is `n`"));
        assert_eq!(StateFile::new(&path, run("a", "1")).load(), Ok(Some(7_u64)));
    }

    #[test]
    fn a_file_of_other_stores_is_refused_and_their_order_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let of = |stores| {
            let run = Run {
                stores,
                ..run("a", "1")
            };
            StateFile::new(&path, run)
        };
        let brokers = stores("redis://a:6379/0", &["a:9092", "b:9092"]);
        of(Some(brokers.clone())).save(&7_u64).unwrap();
        let turned = stores("redis://a:6379/0", &["b:9092", "a:9092"]);
        assert_eq!(of(Some(turned)).load(), Ok(Some(7_u64)));
        let elsewhere = stores("redis://a:6379/0", &["c:9092"]);
        let why = of(Some(elsewhere)).load::<u64>().unwrap_err();
        let said =
            "it read Kafka at a:9092,b:9092, this one reads it at c:9092; give another --state";
        assert!(why.contains(said), "{why}");
        let other = stores("redis://b:6379/0", &["a:9092", "b:9092"]);
        let why = of(Some(other)).load::<u64>().unwrap_err();
        assert!(why.contains("it read Redis at redis://a:6379/0"), "{why}");
        // One of a version before, which did not say.
        of(None).save(&8_u64).unwrap();
        assert_eq!(of(Some(brokers)).load(), Ok(Some(8_u64)));
    }

    #[test]
    fn what_is_no_state_file_is_never_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        let load = || StateFile::new(&path, run("a", "1")).load::<u64>();
        for other in ["", "shopping", "{}", "{\"schema\":\"x\"}"] {
            fs::write(&path, other).unwrap();
            assert!(load().is_err(), "{other}");
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
        let later = format!(
            "{{\"schema\":\"later/v9\",\"run\":{},\"verification\":1}}",
            serde_json::to_string(&run("a", "1")).unwrap()
        );
        fs::write(&path, later).unwrap();
        assert!(load().unwrap_err().contains("later/v9"));
        let nowhere = folder.path().join("no/such/state.json");
        let why = StateFile::new(&nowhere, run("a", "1")).load::<u64>();
        assert!(why.unwrap_err().contains("there is no folder"));
    }
}
