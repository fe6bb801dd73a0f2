use super::data::{Copies, DataForecast, SetForecast};
use super::{Forecast, MemoryForecast};
use crate::params::thousands;
use std::fmt::{self, Formatter};

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let n = thousands;
        writeln!(f, "before the first step")?;
        let micro =
            if self.accumulation > 1 { format!(" x {} micro-batches", self.accumulation) } else { String::new() };
        let plural = if self.epochs == 1 { "epoch" } else { "epochs" };
        let rows = match self.max_tokens {
            None => format!("{}{micro} rows each", n(self.batch_size)),
            Some(most) => format!("at most {} rows and {} tokens{micro} each", n(self.batch_size), n(most)),
        };
        line(f, "steps", format!("{} in {} {plural}, {rows}", n(self.steps), n(self.epochs)))?;
        let from = if self.widest_epoch > 1 { format!(", from epoch {}", self.widest_epoch) } else { String::new() };
        line(f, "trains", format!("{} of {} values{from}", n(self.trainable_values), n(self.all_values)))?;
        let batches = &self.batches;
        let padding = 100.0 * batches.padding_share();
        let tokens = (n(batches.tokens), n(batches.count), n(batches.largest));
        line(
            f,
            "tokens",
            format!("{} an epoch in {} batches, {padding:.1} % padding; the largest {}", tokens.0, tokens.1, tokens.2),
        )?;
        if batches.over_budget > 0 {
            warn(f, format!("longer than max_tokens, each a batch of its own: {}", n(batches.over_budget)))?;
        }
        memory(f, &self.memory)?;
        let (operations, time) = (&self.operations, &self.time);
        line(f, "operations", format!("{} a step, {} an epoch", flops(operations.step), flops(operations.epoch)))?;
        let speed = flops(operations.epoch / time.epoch.max(1e-9));
        let filling =
            if time.cache > 0.0 { format!(", {} to fill the cache", seconds(time.cache)) } else { String::new() };
        let parts = (seconds(time.step), seconds(time.epoch), seconds(time.validation));
        line(f, "time", format!("{} in all{filling}", seconds(time.run)))?;
        line(f, "", format!("{} a step, {} an epoch ({speed}/s), {} a validation", parts.0, parts.1, parts.2))?;
        data(f, &self.data)
    }
}

fn memory(f: &mut Formatter<'_>, memory: &MemoryForecast) -> fmt::Result {
    match memory.peak {
        Some(peak) => line(f, "memory", format!("{} at most", bytes(peak)))?,
        None => line(f, "memory", "known parts only; activations cannot be measured here".into())?,
    }
    let part = |f: &mut Formatter<'_>, size: Option<usize>, what: &str| match size {
        Some(size) if size > 0 => line(f, "", format!("{:>9}  {what}", bytes(size))),
        _ => Ok(()),
    };
    let process = format!("the process so far, weights of {} among it", bytes(memory.weights));
    part(f, memory.process, &process)?;
    if memory.process.is_none() {
        part(f, Some(memory.weights), "weights")?;
    }
    part(f, Some(memory.moments), "optimizer moments")?;
    part(f, Some(memory.averages), "averaged weights")?;
    part(f, Some(memory.best_weights), "best weights so far")?;
    part(f, Some(memory.start_weights), "starting weights")?;
    part(f, Some(memory.cache), "cache of frozen stages")?;
    part(f, memory.activations, "kept for the backward pass of the largest batch *")?;
    part(f, memory.working, "intermediate results *")?;
    part(f, Some(memory.gradients), "gradients *")?;
    part(f, Some(memory.new_weights), "updated weights beside the old *")?;
    part(f, Some(memory.checkpoint), "a checkpoint that is being written")?;
    part(f, Some(memory.saving), "copies while saving *")?;
    part(f, Some(memory.heap), "holes in the heap")?;
    line(f, "", format!("{:>9}  * not all at the same time", ""))
}

fn data(f: &mut Formatter<'_>, data: &DataForecast) -> fmt::Result {
    set(f, "training", &data.train)?;
    if data.validation.examples > 0 {
        set(f, "validation", &data.validation)?;
    }
    if let Some(positions) = data.positions {
        line(
            f,
            "longest row",
            format!(
                "{} tokens of {} positions",
                thousands(data.train.longest.max(data.validation.longest)),
                thousands(positions)
            ),
        )?;
    }
    if let Some(classes) = &data.classes {
        let of = |class: Option<usize>| {
            let class = class.unwrap_or_default();
            format!("{} ({})", thousands(classes.counts[class]), classes.name(class))
        };
        let (rarest, most) = (of(classes.rarest()), of(classes.most_frequent()));
        line(f, "classes", format!("{}, from {rarest} to {most} examples", classes.counts.len()))?;
        let absent: Vec<String> = classes.absent().into_iter().map(|class| classes.name(class)).collect();
        if !absent.is_empty() {
            warn(
                f,
                format!("classes without a training example: {}", few(&absent[..absent.len().min(5)], absent.len())),
            )?;
        }
    }
    copies(f, data.duplicates.as_ref(), "repeated within the training set", "")?;
    copies(f, data.leaks.as_ref(), "in validation and in training", "; figures on them flatter")
}

fn set(f: &mut Formatter<'_>, name: &str, set: &SetForecast) -> fmt::Result {
    let truncated = match set.truncated {
        Some(0) => ", none cut off".into(),
        Some(cut) => format!(", {} cut off", thousands(cut)),
        None => String::new(),
    };
    line(f, name, format!("{} examples of {} tokens{truncated}", thousands(set.examples), thousands(set.tokens)))?;
    if set.unanswered > 0 {
        warn(f, format!("without an answer: {}", few(&set.first_unanswered, set.unanswered)))?;
    }
    Ok(())
}

/// `what: 3 (17 is 4, ..)`, where 17 is the index of the copy and 4 that of the training example.
fn copies(f: &mut Formatter<'_>, copies: Option<&Copies>, what: &str, so: &str) -> fmt::Result {
    let Some(copies) = copies.filter(|copies| copies.count > 0) else { return Ok(()) };
    let pairs = |pairs: &[(usize, usize)], all| {
        few(&pairs.iter().map(|(first, copy)| format!("{copy} is {first}")).collect::<Vec<_>>(), all)
    };
    warn(f, format!("{what}: {}{so}", pairs(&copies.first, copies.count)))?;
    if copies.conflicting > 0 {
        warn(f, format!("of these with another answer: {}", pairs(&copies.first_conflicting, copies.conflicting)))?;
    }
    Ok(())
}

fn line(f: &mut Formatter<'_>, name: &str, text: String) -> fmt::Result {
    write!(f, "\n  {}", format!("{name:<12}{text}").trim_end())
}

fn warn(f: &mut Formatter<'_>, text: String) -> fmt::Result {
    line(f, "  !", text)
}

/// `17 (a, b, ..)`
fn few<T: fmt::Display>(first: &[T], all: usize) -> String {
    let named: Vec<String> = first.iter().map(ToString::to_string).collect();
    format!("{} ({}{})", thousands(all), named.join(", "), if all > first.len() { ", .." } else { "" })
}

/// `412 MB`; a kB is 1000 bytes.
pub(in crate::train) fn bytes(bytes: usize) -> String {
    scaled(bytes as f64, &["B", "kB", "MB", "GB", "TB"])
}

fn flops(operations: f64) -> String {
    scaled(operations, &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"])
}

/// Three digits and the unit.
fn scaled(mut number: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < units.len() {
        (number, unit) = (number / 1000.0, unit + 1);
    }
    let digits = if unit == 0 || number >= 99.95 {
        0
    } else if number >= 9.995 {
        1
    } else {
        2
    };
    format!("{number:.digits$} {}", units[unit])
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.01 => format!("{:.2} ms", 1000.0 * s),
        s if s < 1.0 => format!("{:.0} ms", 1000.0 * s),
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(
            [0, 999, 1000, 12_345, 999_600, 412_000_000].map(bytes),
            ["0 B", "999 B", "1.00 kB", "12.3 kB", "1.00 MB", "412 MB"]
        );
        assert_eq!(flops(3.2e12), "3.20 TFLOP");
        assert_eq!(
            [0.0012, 0.0123, 12.0, 300.0, 7200.0].map(seconds),
            ["1.20 ms", "12 ms", "12.0 s", "5 min", "2.0 h"]
        );
    }

    #[test]
    fn only_a_few_are_named() {
        assert_eq!(few(&[1, 2], 2), "2 (1, 2)");
        assert_eq!(few(&[1, 2], 1600), "1,600 (1, 2, ..)");
    }
}
