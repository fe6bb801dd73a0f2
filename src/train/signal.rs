use super::{Control, Event, Observer, ObserverError};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends a run after the current step when the process is told to stop (SIGINT, SIGTERM), so that `fit` saves and returns.
/// A second signal ends the process at once, with exit code 130.
#[derive(Debug)]
pub struct StopOnSignal {
    asked: Arc<AtomicBool>,
}

impl StopOnSignal {
    /// Listens from now on, for the rest of the process.
    ///
    /// # Errors
    /// What the system says when it takes no handler.
    pub fn new() -> std::io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down, the second one up.
            signal_hook::flag::register_conditional_shutdown(signal, 130, asked.clone())?;
            signal_hook::flag::register(signal, asked.clone())?;
        }
        Ok(Self { asked })
    }

    /// Whether a signal has come.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Observer for StopOnSignal {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        Ok(match event {
            Event::End { report } if self.is_asked() => {
                eprintln!("stopped by a signal after step {}", report.steps);
                Control::Continue
            }
            _ if self.is_asked() => Control::Stop,
            _ => Control::Continue,
        })
    }
}
