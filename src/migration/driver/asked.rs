//! Requests: asked of the mind, and the way back tried against the live stores without moving anybody.

use super::{Driver, Records, Reply, Request, now_ms};
use crate::migration::gate::{Measure, Reading, Sample, millis};
use crate::migration::phase::Step;
use crate::migration::step::{Action, Ask, Event, Refusal, Who};

impl Driver {
    pub(super) async fn on_request(&mut self, request: Request) {
        let (reply, answer) = match request {
            Request::Ask(who, ask, reply) => (reply, self.ask(who, ask).await),
            Request::Rehearse(who, step, reply) => (reply, self.rehearse(who, step).await),
            Request::Note(who, outcome, note) => {
                self.note(who, outcome, note).await;
                return;
            }
            Request::Journal(after, most, reply) => {
                let _ = reply.send(self.journal(after, most).await);
                return;
            }
        };
        // Who asked may have gone.
        let _ = reply.send(answer);
    }

    /// Whoever steers writes the journal; everybody may read it.
    async fn journal(&mut self, after: u64, most: u64) -> Records {
        let stored = self.store.load().await.map_err(|error| error.to_string())?;
        let total = stored.map_or(0, |(state, _)| state.journal);
        let first = after.saturating_add(1);
        let last = total.min(after.saturating_add(most));
        let records = self.store.journal(first..=last).await;
        Ok((records.map_err(|error| error.to_string())?, total))
    }

    pub(super) async fn ask(&mut self, who: Who, ask: Ask) -> Reply {
        if self.machine.is_none() {
            let refusal = match &self.now.holder {
                Some(holder) => Refusal::Elsewhere(holder.clone()),
                None => Refusal::NotReady,
            };
            return Err(Box::new(refusal));
        }
        // Whoever asks does not wait for the next look.
        if self.unread {
            self.reload().await;
        }
        if let Ask::Evidence(sample) = &ask {
            self.is_whole(sample).map_err(Box::new)?;
        }
        let answer = self.take(Event::Asked(who, ask)).await;
        answer.unwrap_or_else(|| Err(Box::new(Refusal::NotReady)))
    }

    /// An archive cannot hold fewer entries than the streams do now, whoever mirrors them.
    fn is_whole(&self, sample: &Sample) -> Result<(), Refusal> {
        let (Measure::Archive, &Reading::Counted { total, .. }) = (sample.measure, &sample.reading)
        else {
            return Ok(());
        };
        let sight = self.table.sight.as_ref();
        let held = sight.map(|sight| sight.stream_entries.clone());
        let held = held.unwrap_or_else(|| Err("nothing was looked at yet".to_owned()));
        match held.map_err(Refusal::Unheld)? {
            held if total < held => Err(Refusal::ArchiveShort { held, total }),
            _ => Ok(()),
        }
    }

    /// The actions of the way back, each as far as it can be done without moving anybody: the flags are written under a name
    /// that nobody reads, and read again.
    async fn rehearse(&mut self, who: Who, step: Step) -> Reply {
        let begun = std::time::Instant::now();
        let way = self
            .machine
            .as_ref()
            .and_then(|machine| machine.way_back_from(step));
        let mut passed = way.is_some();
        let mut note = String::new();
        for action in way.map(|(_, actions)| actions).unwrap_or_default() {
            if let Err(why) = self.try_out(action).await {
                passed = false;
                note = why;
                break;
            }
        }
        let took_ms = millis(begun.elapsed());
        let ask = Ask::Rehearsed {
            step,
            passed,
            note,
            took_ms,
        };
        self.ask(who, ask).await
    }

    async fn try_out(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Tell(told) => {
                let key = format!("lockgate:{}:flags-rehearsal", self.parts.migration).into_bytes();
                let fields = [("share".to_owned(), told.share.ingress.to_string())];
                let connection = self
                    .store
                    .connection()
                    .await
                    .map_err(|error| error.to_string())?;
                // Versions of rehearsals only grow, as those of the flags do: the time is one.
                let version = now_ms().cast_unsigned();
                let later = connection
                    .flags_write(&key, version, &fields)
                    .await
                    .map_err(|error| error.to_string())?;
                let read = connection
                    .own_fields(&key)
                    .await
                    .map_err(|error| error.to_string())?;
                let same = read
                    .iter()
                    .any(|(name, value)| name == "version" && *value == version.to_string());
                if later.is_none() && same {
                    Ok(())
                } else {
                    Err("the flags were not there after writing them".to_owned())
                }
            }
            Action::Converge { .. } => {
                let known = self.measurements.followers.following(0, now_ms()).known;
                if known > 0 {
                    Ok(())
                } else {
                    Err("no application is known that would follow".to_owned())
                }
            }
            Action::Precheck | Action::Drain => Ok(()),
        }
    }
}
