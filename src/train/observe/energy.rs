use crate::train::{Control, Event, Observer, ObserverError};
use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Watts of a busy core where nobody says otherwise: "any" processor of Green Algorithms' table
/// ([Lannelongue et al., 2021](https://doi.org/10.1002/advs.202100707)).
pub const WATTS_PER_CORE: f64 = 12.0;

/// Grams of CO2 equivalent for a kWh where nobody says otherwise: the world's mean of 2024
/// ([Ember, Global Electricity Review 2025](https://ember-energy.org/latest-insights/global-electricity-review-2025/)).
pub const GRAMS_PER_KWH: f64 = 473.0;

/// Estimates a run's energy and CO2.
///
/// Where Linux lets the process read the processor's counters (RAPL, `/sys/class/powercap`; usually root alone), the energy
/// is what all packages and their memory used meanwhile: the whole machine's share, other programs included. Elsewhere it
/// is the CPU time of the process times the watts of a busy core. GPUs, disks, cooling, and what an interrupted run did
/// after its last checkpoint are not counted. Counters are read at every event; they wrap around after minutes to hours,
/// so that a single step or pass without an event that lasts longer counts short.
#[derive(Debug)]
pub struct Energy {
    counters: Vec<Counter>,
    cpu: Option<ProcessTime>,
    estimate: EnergyEstimate,
}

/// What a run used so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnergyEstimate {
    /// Joules by the processor's counters.
    pub counted_joules: f64,
    /// The counters, such as `package-0`; none where they cannot be read.
    pub counters: Vec<String>,
    /// CPU seconds of the process, where there are no counters.
    pub cpu_seconds: f64,
    /// Watts that each of them is reckoned at.
    pub watts_per_core: f64,
    /// Grams of CO2 equivalent for a kWh.
    pub grams_per_kwh: f64,
}

/// A wattage or intensity that cannot be meant.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum EnergyError {
    /// Below 0, infinite or NaN.
    #[error("{option} is {value}; give a number of 0 or more")]
    BadOption {
        /// Which.
        option: &'static str,
        /// Its value.
        value: f64,
    },
}

impl Default for Energy {
    fn default() -> Self {
        Self::new()
    }
}

impl Energy {
    /// Reads counters where it may, and reckons with [`WATTS_PER_CORE`] and [`GRAMS_PER_KWH`].
    pub fn new() -> Self {
        Self::with_counters(Path::new("/sys/class/powercap"))
    }

    fn with_counters(root: &Path) -> Self {
        let counters = counters(root);
        let names = counters.iter().map(|counter| counter.name.clone()).collect();
        let estimate = EnergyEstimate {
            counters: names,
            watts_per_core: WATTS_PER_CORE,
            grams_per_kwh: GRAMS_PER_KWH,
            ..EnergyEstimate::default()
        };
        Self { counters, cpu: None, estimate }
    }

    /// Watts of a busy core of this machine, such as its thermal design power over its cores.
    ///
    /// # Errors
    /// [`EnergyError`] for a number below 0, infinite or NaN.
    pub fn watts_per_core(mut self, watts: f64) -> Result<Self, EnergyError> {
        self.estimate.watts_per_core = sensible("watts_per_core", watts)?;
        Ok(self)
    }

    /// Grams of CO2 equivalent for a kWh where the machine stands.
    ///
    /// # Errors
    /// [`EnergyError`] for a number below 0, infinite or NaN.
    pub fn grams_per_kwh(mut self, grams: f64) -> Result<Self, EnergyError> {
        self.estimate.grams_per_kwh = sensible("grams_per_kwh", grams)?;
        Ok(self)
    }

    /// What the run used so far, what came before an interruption included.
    pub fn estimate(&self) -> &EnergyEstimate {
        &self.estimate
    }

    /// Adds what was used since the last call.
    fn sample(&mut self) -> Result<(), ObserverError> {
        for counter in &mut self.counters {
            self.estimate.counted_joules += counter.joules()?;
        }
        if self.counters.is_empty() {
            let now = ProcessTime::try_now()?;
            let before = self.cpu.replace(now).unwrap_or(now);
            self.estimate.cpu_seconds += now.duration_since(before).as_secs_f64();
        }
        Ok(())
    }
}

fn sensible(option: &'static str, value: f64) -> Result<f64, EnergyError> {
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(EnergyError::BadOption { option, value }) }
}

impl EnergyEstimate {
    /// Energy in joules.
    pub fn joules(&self) -> f64 {
        self.counted_joules + self.cpu_seconds * self.watts_per_core
    }

    /// Energy in kilowatt-hours.
    pub fn kilowatt_hours(&self) -> f64 {
        self.joules() / 3.6e6
    }

    /// Grams of CO2 equivalent.
    pub fn grams_co2(&self) -> f64 {
        self.kilowatt_hours() * self.grams_per_kwh
    }
}

/// `1.24e-3 kWh, 0.585 g CO2e at 473 g/kWh (371.0 s of CPU time at 12 W a core)`.
impl fmt::Display for EnergyEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kwh, grams) = (self.kilowatt_hours(), self.grams_co2());
        write!(f, "{kwh:.2e} kWh, {grams:.3} g CO2e at {} g/kWh (", self.grams_per_kwh)?;
        if self.counted_joules > 0.0 || !self.counters.is_empty() {
            let counters = if self.counters.is_empty() { "an earlier part".into() } else { self.counters.join(", ") };
            write!(f, "{:.0} J by the processor's counters: {counters}", self.counted_joules)?;
        }
        if self.cpu_seconds > 0.0 || self.counters.is_empty() {
            let and = if self.counted_joules > 0.0 { "; " } else { "" };
            write!(f, "{and}{:.1} s of CPU time at {} W a core", self.cpu_seconds, self.watts_per_core)?;
        }
        write!(f, ")")
    }
}

impl Observer for Energy {
    fn on(&mut self, _: &Event<'_>) -> Result<Control, ObserverError> {
        self.sample()?;
        Ok(Control::Continue)
    }

    fn state(&self) -> Option<Value> {
        let EnergyEstimate { counted_joules, cpu_seconds, .. } = self.estimate;
        Some(json!({ "counted_joules": counted_joules, "cpu_seconds": cpu_seconds }))
    }

    fn restore(&mut self, state: Value) -> Result<(), ObserverError> {
        let number = |name: &str| state[name].as_f64().ok_or_else(|| format!("its state has no {name}"));
        (self.estimate.counted_joules, self.estimate.cpu_seconds) = (number("counted_joules")?, number("cpu_seconds")?);
        Ok(())
    }
}

/// A counter of Linux's power capping framework (Documentation/power/powercap/powercap.rst).
#[derive(Debug)]
struct Counter {
    name: String,
    path: PathBuf,
    /// Largest value in microjoules; the next one is 0.
    range: u64,
    last: Option<u64>,
}

impl Counter {
    /// Joules since the last call; 0 in the first.
    fn joules(&mut self) -> Result<f64, ObserverError> {
        let now = number(&self.path).ok_or_else(|| format!("`{}` can be read no more", self.path.display()))?;
        let before = self.last.replace(now).unwrap_or(now);
        let used = if now >= before { now - before } else { now.saturating_add(self.range).saturating_sub(before) };
        Ok(used as f64 * 1e-6)
    }
}

/// The counters that can be read, of packages and of memory: cores and graphics are within packages, and `psys` holds them
/// all.
fn counters(root: &Path) -> Vec<Counter> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut counters: Vec<Counter> = entries.filter_map(|path| counter(&path)).collect();
    counters.sort_by(|a, b| a.path.cmp(&b.path));
    counters
}

fn counter(path: &Path) -> Option<Counter> {
    // `intel-rapl-mmio:0` shows a package once more.
    path.file_name()?.to_str()?.strip_prefix("intel-rapl:")?;
    let name = fs::read_to_string(path.join("name")).ok()?.trim().to_string();
    if !(name.starts_with("package") || name == "dram") {
        return None;
    }
    let range = number(&path.join("max_energy_range_uj"))?;
    let path = path.join("energy_uj");
    number(&path)?;
    Some(Counter { name, path, range, last: None })
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::StepInfo;

    fn domain(root: &Path, folder: &str, name: &str, energy: u64) {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("name"), format!("{name}\n")).unwrap();
        fs::write(folder.join("max_energy_range_uj"), "10000000\n").unwrap();
        fs::write(folder.join("energy_uj"), format!("{energy}\n")).unwrap();
    }

    fn step(energy: &mut Energy) {
        energy.on(&Event::Step(&StepInfo::default())).unwrap();
    }

    #[test]
    fn counters_are_summed_and_wrap_around() {
        let root = tempfile::tempdir().unwrap();
        let write = |package: u64, memory: u64| {
            domain(root.path(), "intel-rapl:0", "package-0", package);
            domain(root.path(), "intel-rapl:0:2", "dram", memory);
            for (folder, name) in
                [("intel-rapl:0:0", "core"), ("intel-rapl:1", "psys"), ("intel-rapl-mmio:0", "package-0")]
            {
                domain(root.path(), folder, name, package);
            }
        };
        write(9_000_000, 1_000_000);
        let mut energy = Energy::with_counters(root.path()).grams_per_kwh(360.0).unwrap();
        step(&mut energy);
        write(9_500_000, 2_000_000);
        step(&mut energy);
        assert!((energy.estimate().joules() - 1.5).abs() < 1e-9, "{:?}", energy.estimate());
        write(500_000, 2_000_000);
        step(&mut energy);
        assert!((energy.estimate().joules() - 2.5).abs() < 1e-9, "{:?}", energy.estimate());
        assert!((energy.estimate().grams_co2() - 2.5 * 360.0 / 3.6e6).abs() < 1e-12);
        let text = energy.estimate().to_string();
        assert!(text.contains("360 g/kWh") && text.ends_with("counters: package-0, dram)"), "{text}");
        // Another process goes on where nothing can be read.
        let mut resumed = Energy::with_counters(&root.path().join("none"));
        resumed.restore(energy.state().unwrap()).unwrap();
        assert!((resumed.estimate().joules() - 2.5).abs() < 1e-9);
        std::fs::remove_file(root.path().join("intel-rapl:0/energy_uj")).unwrap();
        let error = energy.on(&Event::Step(&StepInfo::default())).unwrap_err().to_string();
        assert!(error.contains("energy_uj"), "{error}");
    }

    #[test]
    fn without_counters_the_time_of_the_processor_counts() {
        let mut energy = Energy::with_counters(Path::new("/nowhere")).watts_per_core(10.0).unwrap();
        step(&mut energy);
        assert_eq!(energy.estimate().joules(), 0.0);
        let begin = std::time::Instant::now();
        let mut sum = 0_u64;
        while begin.elapsed().as_millis() < 50 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        step(&mut energy);
        let estimate = energy.estimate();
        assert!(estimate.cpu_seconds > 0.005, "{estimate:?}");
        assert_eq!(estimate.joules(), 10.0 * estimate.cpu_seconds);
        assert!(estimate.to_string().ends_with("s of CPU time at 10 W a core)"), "{estimate}");
        assert!(energy.restore(json!({})).is_err());
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        for value in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Energy::new().watts_per_core(value).is_err());
            let error = Energy::new().grams_per_kwh(value).unwrap_err();
            assert!(error.to_string().starts_with("grams_per_kwh is "), "{error}");
        }
    }
}
