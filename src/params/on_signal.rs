use super::{Freeze, FreezeError, FreezePolicy, Inventory, Progress};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tells a run under [`OnSignal`] to go on to its next policy. Clones are one signal: give one to the policy and keep
/// another, in an observer, a thread or a handler.
#[derive(Clone, Default)]
pub struct Signal {
    raised: Arc<AtomicUsize>,
}

impl Signal {
    /// Not raised yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises it. The run takes it up after the step it is in; raised twice, it counts twice.
    pub fn raise(&self) {
        self.raised.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was raised since the last call.
    pub fn take(&self) -> usize {
        self.raised.swap(0, Ordering::Relaxed)
    }
}

impl fmt::Debug for Signal {
    /// Without the count: how a policy prints says which run it belongs to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signal")
    }
}

/// Goes on to its next policy each time a [`Signal`] is raised; the last one stays. Each policy counts epochs, steps and
/// validations from its own start.
///
/// A run that saves checkpoints saves one when a signal comes, so that it is not lost.
#[derive(Clone, Debug)]
pub struct OnSignal {
    signal: Signal,
    first: Freeze,
    then: Vec<Freeze>,
}

impl OnSignal {
    /// `first` until the first signal, then one of `then` after the other.
    pub fn new(signal: Signal, first: Freeze, then: impl IntoIterator<Item = Freeze>) -> Self {
        Self { signal, first, then: then.into_iter().collect() }
    }

    fn current<'a>(&self, at: Progress<'a>) -> (&Freeze, Progress<'a>) {
        let came = at.signals.len().min(self.then.len());
        match came.checked_sub(1) {
            None => (&self.first, at),
            Some(last) => (&self.then[last], at.since(at.signals[last])),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Freeze> {
        [&self.first].into_iter().chain(&self.then)
    }
}

impl FreezePolicy for OnSignal {
    fn trainable(&self, inventory: &Inventory, at: Progress<'_>) -> Result<Vec<bool>, FreezeError> {
        Freeze::all_mean_something(self.all(), inventory, at)?;
        let (now, at) = self.current(at);
        now.trainable(inventory, at)
    }

    fn asks_at(&self, at: Progress<'_>) -> bool {
        let (now, at) = self.current(at);
        now.asks_at(at)
    }

    fn take_signals(&self) -> usize {
        self.signal.take()
    }

    fn needs_validation(&self) -> bool {
        self.all().any(Freeze::needs_validation)
    }

    fn needs_gradients(&self) -> bool {
        self.all().any(Freeze::needs_gradients)
    }
}
