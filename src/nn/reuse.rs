#[cfg(feature = "flex")]
use crate::kernel;

/// While one lives, the fused operations use large buffers again that were let go. It is for loops of similar batches.
#[derive(Debug)]
pub(crate) struct ReuseScope {
    #[cfg(feature = "flex")]
    _kept: kernel::ReuseScope,
}

impl ReuseScope {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "flex")]
            _kept: kernel::ReuseScope::new(),
        }
    }
}
