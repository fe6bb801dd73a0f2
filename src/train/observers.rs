//! The observers of a run: who is told, who has failed, and what they ask for.

use super::fit::Run;
use super::{Control, Event, Observer, ObserverError, Report, StopReason, TrainError};
use crate::backbone::Backbone;
use crate::error::Error;
use crate::head::TaskHead;
use crate::objective::Objective;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) struct Observers<'a, 'o> {
    all: &'a mut [&'o mut dyn Observer],
    failed: Vec<bool>,
    /// Names of those that failed, with why.
    pub(super) failures: Vec<String>,
    pub(super) stop: bool,
    pub(super) save: bool,
}

impl<'a, 'o> Observers<'a, 'o> {
    pub(super) fn new(all: &'a mut [&'o mut dyn Observer]) -> Self {
        Self { failed: vec![false; all.len()], all, failures: vec![], stop: false, save: false }
    }

    /// Tells all that have not failed, in their order.
    pub(super) fn tell(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        for index in 0..self.all.len() {
            if self.failed[index] {
                continue;
            }
            match self.all[index].on(event) {
                Ok(Control::Continue) => {}
                Ok(Control::Save) => self.save = true,
                Ok(Control::Stop) => self.stop = true,
                Err(error) => self.fail(index, error)?,
            }
        }
        Ok(())
    }

    /// States by name; a second observer of a name has `#2` after it.
    pub(super) fn states(&self) -> BTreeMap<String, Value> {
        let keys = self.keys().into_iter().enumerate().filter(|(index, _)| !self.failed[*index]);
        keys.filter_map(|(index, key)| Some((key, self.all[index].state()?))).collect()
    }

    pub(super) fn restore(&mut self, mut states: BTreeMap<String, Value>) -> Result<(), TrainError> {
        for (index, key) in self.keys().into_iter().enumerate() {
            let Some(state) = states.remove(&key).filter(|_| !self.failed[index]) else { continue };
            if let Err(error) = self.all[index].restore(state) {
                self.fail(index, error)?;
            }
        }
        Ok(())
    }

    fn keys(&self) -> Vec<String> {
        let mut seen = BTreeMap::new();
        let mut key = |name: &str| {
            let count = seen.entry(name.to_string()).or_insert(0);
            *count += 1;
            if *count == 1 { name.to_string() } else { format!("{name}#{count}") }
        };
        self.all.iter().map(|observer| key(observer.name())).collect()
    }

    fn fail(&mut self, index: usize, error: ObserverError) -> Result<(), TrainError> {
        self.failed[index] = true;
        let name = self.all[index].name().to_string();
        if self.all[index].must_succeed() {
            return Err(TrainError::Observer { name, source: error });
        }
        self.failures.push(format!("{name}: {error}"));
        self.tell(&Event::ObserverFailed { name: &name, error: &error })
    }
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Lets every observer know, the history first.
    pub(super) fn tell(&mut self, event: &Event<'_>) -> Result<(), Error> {
        if let Some(history) = &mut self.history {
            history.write(event)?;
        }
        let told = self.observers.tell(event);
        self.report.observer_failures.append(&mut self.observers.failures);
        if std::mem::take(&mut self.observers.stop) {
            self.stop = self.stop.or(Some(StopReason::Observer));
        }
        Ok(told?)
    }

    /// Lets observers know that the run ends with an error, which says more than one of theirs would.
    pub(super) fn tell_failure(&mut self, result: Result<Report, Error>) -> Result<Report, Error> {
        if let Err(error) = &result {
            self.observers.tell(&Event::Failed { error }).ok();
        }
        result
    }
}
