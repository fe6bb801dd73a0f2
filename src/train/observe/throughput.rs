use crate::params::thousands;
use crate::train::{Control, Event, Observer, ObserverError, StepInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;

/// What some steps read, and how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Speed {
    /// Examples.
    pub examples: usize,
    /// Their tokens, as the objective counts an example's length.
    pub tokens: usize,
    /// Positions that padding added.
    pub padding: usize,
    /// Seconds in steps; validations and checkpoints are not counted.
    pub seconds: f64,
}

impl Speed {
    /// Examples a second; 0 before the first step.
    pub fn examples_per_second(&self) -> f64 {
        self.rate(self.examples)
    }

    /// Tokens a second, padding not counted; 0 before the first step.
    pub fn tokens_per_second(&self) -> f64 {
        self.rate(self.tokens)
    }

    /// The share of positions that were padding, 0 to 1.
    pub fn padding_share(&self) -> f64 {
        self.padding as f64 / (self.tokens + self.padding).max(1) as f64
    }

    fn rate(&self, count: usize) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            examples: self.examples + other.examples,
            tokens: self.tokens + other.tokens,
            padding: self.padding + other.padding,
            seconds: self.seconds + other.seconds,
        }
    }
}

impl From<&StepInfo> for Speed {
    fn from(info: &StepInfo) -> Self {
        let StepInfo { examples, tokens, padding, seconds, .. } = *info;
        Self { examples, tokens, padding, seconds: seconds.total }
    }
}

/// `312.4 examples/s, 4,120 tokens/s, 3.2 % padding`.
impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (examples, tokens) = (self.examples_per_second(), thousands(self.tokens_per_second().round() as usize));
        write!(f, "{examples:.1} examples/s, {tokens} tokens/s, {:.1} % padding", 100.0 * self.padding_share())
    }
}

/// Measures how fast a run trains: over all its steps, those before an interruption included, and over the last ones.
#[derive(Clone, Debug)]
pub struct Throughput {
    total: Speed,
    window: VecDeque<Speed>,
    steps: usize,
}

impl Default for Throughput {
    fn default() -> Self {
        Self::new()
    }
}

impl Throughput {
    /// With a window of 50 steps.
    pub fn new() -> Self {
        Self::with_window(50)
    }

    /// With a window of so many steps, at least 1.
    pub fn with_window(steps: usize) -> Self {
        Self { total: Speed::default(), window: VecDeque::new(), steps: steps.max(1) }
    }

    /// All steps.
    pub fn total(&self) -> Speed {
        self.total
    }

    /// The steps of the window.
    pub fn recent(&self) -> Speed {
        self.window.iter().copied().fold(Speed::default(), Speed::plus)
    }

    /// Counts a step.
    pub fn add(&mut self, info: &StepInfo) {
        let speed = Speed::from(info);
        self.total = self.total.plus(speed);
        if self.window.len() == self.steps {
            self.window.pop_front();
        }
        self.window.push_back(speed);
    }
}

impl Observer for Throughput {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        if let Event::Step(info) = event {
            self.add(info);
        }
        Ok(Control::Continue)
    }

    fn state(&self) -> Option<Value> {
        serde_json::to_value(self.total).ok()
    }

    fn restore(&mut self, state: Value) -> Result<(), ObserverError> {
        self.total = serde_json::from_value(state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::StepSeconds;

    fn step(examples: usize, tokens: usize, padding: usize, total: f64) -> StepInfo {
        StepInfo {
            examples,
            tokens,
            padding,
            seconds: StepSeconds { total, ..StepSeconds::default() },
            ..StepInfo::default()
        }
    }

    #[test]
    fn the_window_forgets_and_the_total_does_not() {
        let mut throughput = Throughput::with_window(2);
        assert_eq!(throughput.total().examples_per_second(), 0.0);
        for info in [step(8, 60, 20, 1.0), step(8, 100, 0, 0.5), step(4, 50, 0, 0.25)] {
            throughput.on(&Event::Step(&info)).unwrap();
        }
        let (total, recent) = (throughput.total(), throughput.recent());
        assert_eq!((total.examples, total.tokens, total.seconds), (20, 210, 1.75));
        assert_eq!((recent.examples_per_second(), recent.tokens_per_second()), (16.0, 200.0));
        assert_eq!((recent.padding_share(), total.padding_share()), (0.0, 20.0 / 230.0));
        assert_eq!(total.to_string(), "11.4 examples/s, 120 tokens/s, 8.7 % padding");
        let mut resumed = Throughput::new();
        resumed.restore(throughput.state().unwrap()).unwrap();
        assert_eq!((resumed.total(), resumed.recent()), (total, Speed::default()));
        assert!(resumed.restore(Value::Null).is_err());
    }
}
