use super::Event;
use serde_json::Value;

/// Why an observer failed: any error, or a text (`"disk full".into()`).
pub type ObserverError = Box<dyn std::error::Error + Send + Sync>;

/// What an observer wants. Its answers to [`Event::End`] and [`Event::Failed`] are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    #[default]
    Continue,
    /// Write a checkpoint after this step; an error where [`Fit::folder`](super::Fit::folder) is not given.
    Save,
    /// End the run after this step; not an error.
    Stop,
}

/// Sees every event of a run. A closure `|event: &Event<'_>| Ok(Control::Continue)` is one too.
pub trait Observer {
    /// Called on the training thread; what it does delays the run.
    ///
    /// # Errors
    /// Whatever goes wrong. The run goes on without this observer, the others hear of it
    /// ([`Event::ObserverFailed`]), and the report names it, unless [`must_succeed`](Self::must_succeed).
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError>;

    /// What it is called in messages, and what its state is kept under; the type's name, unless told otherwise.
    fn name(&self) -> &str {
        short_name(std::any::type_name::<Self>())
    }

    /// What it has gathered so far, to be stored in a checkpoint after the events of that step.
    fn state(&self) -> Option<Value> {
        None
    }

    /// Takes up what [`state`](Self::state) gave for the checkpoint that a run resumes from, before the first event.
    ///
    /// # Errors
    /// A state that it cannot read; it counts as a failure as in [`on`](Self::on).
    fn restore(&mut self, _state: Value) -> Result<(), ObserverError> {
        Ok(())
    }

    /// Whether its failure ends the run with an error.
    fn must_succeed(&self) -> bool {
        false
    }
}

impl<F> Observer for F
where
    F: FnMut(&Event<'_>) -> Result<Control, ObserverError>,
{
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        self(event)
    }

    fn name(&self) -> &str {
        "closure"
    }
}

/// `Meter` of `my_crate::Meter<other::Unit>`.
fn short_name(path: &str) -> &str {
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(short_name("my_crate::watch::Meter<other::Unit>"), "Meter");
        assert_eq!(short_name("Meter"), "Meter");
    }
}
