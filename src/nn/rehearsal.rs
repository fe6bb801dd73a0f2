use std::cell::Cell;

thread_local! { static ON: Cell<bool> = const { Cell::new(false) } }

/// While it lives, layers that this thread runs on a plain device act as in training where their flags say so, and keep
/// nothing: the same pass will come again under autodiff.
#[derive(Debug)]
#[must_use = "layers rehearse only while the scope lives"]
pub(crate) struct Rehearsal {
    outer: bool,
}

impl Rehearsal {
    /// Opens one for the current thread.
    pub(crate) fn new() -> Self {
        Self { outer: ON.replace(true) }
    }

    /// Whether this thread rehearses.
    pub(crate) fn is_on() -> bool {
        ON.get()
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        ON.set(self.outer);
    }
}
