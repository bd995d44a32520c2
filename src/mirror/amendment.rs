//! The desk at which a term takes amendments, for as long as it lasts, and passes them to its writer.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::lane::Lane;
use super::slot::{Amended, Input, Slot};
use crate::checkpoint::{Admission, Amendment};
use crate::entry::StreamRef;

/// Amendments on their way to the writer, each with an entry.
const QUEUED: usize = 32;

pub struct Desk {
    slots: HashMap<StreamRef, Arc<Slot>>,
    /// Given to whom is admitted; falls with the desk.
    way_in: mpsc::Sender<Amendment>,
    amendments: mpsc::Receiver<Amendment>,
    out: mpsc::Sender<Input>,
}

impl Desk {
    /// While the desk stands, the writer's input stays open.
    pub fn new(lanes: &[Lane], out: mpsc::Sender<Input>) -> Self {
        let (way_in, amendments) = mpsc::channel(QUEUED);
        let slots = lanes
            .iter()
            .map(|lane| (lane.slot.stream.clone(), Arc::clone(&lane.slot)))
            .collect();
        Self {
            slots,
            way_in,
            amendments,
            out,
        }
    }

    /// Who asks for a stream that is not in this term gets no answer.
    pub fn admit(&self, admission: Admission) {
        if self.slots.contains_key(&admission.stream) {
            // Who asked may have given up.
            let _ = admission.reply.send(self.way_in.clone());
        }
    }

    pub async fn next(&mut self) -> Option<Amendment> {
        self.amendments.recv().await
    }

    /// An amendment that the writer does not take any more is dropped, which tells the one who waits for it.
    pub async fn pass_on(&self, amendment: Amendment) {
        if let Some(slot) = self.slots.get(&amendment.stream) {
            let slot = Arc::clone(slot);
            let _ = self
                .out
                .send(Input::Amended(Amended { slot, amendment }))
                .await;
        }
    }
}
