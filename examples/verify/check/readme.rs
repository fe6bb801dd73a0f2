//! Numbers in the READMEs of reference folders: how a run was made, and how far float32 is from float64.

use super::Result;
use rekindle::optim::{AdamW, OptimizerConfig, Schedule, Sgd, Warmup};
use std::path::{Path, PathBuf};

/// The folder's README; empty where there is none.
pub(crate) fn read(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("README.md")).unwrap_or_default()
}

/// The first number that follows `phrase`.
pub(crate) fn number_after(text: &str, phrase: &str) -> Option<f64> {
    text.match_indices(phrase).find_map(|(at, _)| leading_number(&text[at + phrase.len()..]))
}

fn first_number(text: &str, phrases: &[&str]) -> Option<f64> {
    phrases.iter().find_map(|phrase| number_after(text, phrase))
}

fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit() && !".eE+-".contains(c)).unwrap_or(text.len());
    text[..end].trim_end_matches(['.', 'e', 'E', '+', '-']).parse().ok()
}

/// The model that a folder of runs starts from, which stands beside it: the one that the README names, else the one
/// whose name is the start of the folder's.
pub(crate) fn base_folder(folder: &Path, readme: &str) -> Result<PathBuf> {
    let folder = folder.canonicalize()?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names: Vec<String> =
        readme.match_indices("from ../").map(|(at, from)| word(&readme[at + from.len()..])).collect();
    names.extend(name.match_indices('_').rev().map(|(at, _)| name[..at].to_string()));
    let found = names.iter().map(|name| folder.with_file_name(name)).find(|base| base.join("config.json").is_file());
    found.ok_or_else(|| format!("found no base model for `{name}` beside it; looked for {}", names.join(", ")).into())
}

fn word(text: &str) -> String {
    let end = text.find(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).unwrap_or(text.len());
    text[..end].trim_end_matches('.').into()
}

/// How a run was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) lr: f64,
    pub(crate) weight_decay: f64,
    pub(crate) optimizer: OptimizerConfig,
    /// Biases and norms decay too.
    pub(crate) decays_all: bool,
    pub(crate) clip_norm: Option<f64>,
    pub(crate) schedule: Schedule,
    /// Each step accumulates the rows of the batch, one at a time.
    pub(crate) row_by_row: bool,
    /// The rate of a layer is the next higher one's times this.
    pub(crate) layer_decay: Option<f64>,
}

impl Settings {
    /// The learning rate of the run called `run`: another one where the README names one for frozen parts.
    pub(crate) fn lr_of(&self, readme: &str, run: &str) -> f64 {
        let other = readme.split(" with frozen ").next().and_then(|before| before.rsplit('(').next());
        let other = other.filter(|_| run.ends_with("_frozen") && readme.contains(" with frozen "));
        other.and_then(leading_number).unwrap_or(self.lr)
    }

    /// What the README says; lr 1e-3, weight decay 0.01 and PyTorch's AdamW where it says nothing.
    pub(crate) fn of(readme: &str) -> Result<Self> {
        let usual = AdamW::default();
        Ok(Self {
            lr: first_number(readme, &["lr ", "base rate ", "learning rate "]).unwrap_or(1e-3),
            weight_decay: first_number(readme, &["weight_decay ", "weight decay "]).unwrap_or(1e-2),
            optimizer: match readme.contains("optim.SGD") {
                true => Sgd { momentum: number_after(readme, "momentum ").unwrap_or(0.0), ..Sgd::default() }.into(),
                false => AdamW {
                    betas: betas(readme).unwrap_or(usual.betas),
                    eps: number_after(readme, "eps ").unwrap_or(usual.eps),
                    ..usual
                }
                .into(),
            },
            decays_all: readme.contains("on everything"),
            clip_norm: first_number(readme, &["global norm to ", "max_norm ", "max norm "]),
            schedule: schedule(readme)?,
            row_by_row: readme.contains("one by one"),
            layer_decay: readme.find("^depth").and_then(|at| leading_number(readme[..at].rsplit(' ').next()?)),
        })
    }
}

fn betas(readme: &str) -> Option<(f64, f64)> {
    let (_, after) = readme.split_once("betas (")?;
    let (first, second) = after.split_once(')')?.0.split_once(',')?;
    Some((leading_number(first)?, leading_number(second)?))
}

fn schedule(readme: &str) -> Result<Schedule> {
    let name = readme.split_once("get_scheduler(").map_or_else(|| "constant".into(), |(_, after)| word(after));
    let warmup = first_number(readme, &["warm-up ", "warmup "]).map_or(0, |steps| steps as usize);
    let warmup = Warmup::Steps(warmup);
    match name.as_str() {
        "constant" | "constant_with_warmup" => Ok(Schedule::Constant { warmup }),
        "linear" => Ok(Schedule::Linear { warmup }),
        "cosine" => Ok(Schedule::Cosine { warmup }),
        _ => Err(format!("the README names the schedule `{name}`; known are constant, linear and cosine").into()),
    }
}

/// How far a float32 run is from a float64 one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Key biases: their gradient is zero in exact arithmetic, and Adam amplifies its rounding.
    pub(crate) key_biases: f64,
    pub(crate) parameters: f64,
    pub(crate) losses: f64,
    pub(crate) norms: f64,
}

impl Default for Spread {
    /// What a few steps at a rate of 1e-3 usually come to.
    fn default() -> Self {
        Self { key_biases: 3.6e-5, parameters: 5e-6, losses: 1.2e-7, norms: 1.5e-7 }
    }
}

impl Spread {
    /// What the README says of the run called `run`, or of all runs.
    pub(crate) fn of(readme: &str, run: &str) -> Self {
        let names = [format!("`{run}` against "), format!("`{run}.safetensors`: ")];
        let own = readme.lines().find(|line| names.iter().any(|name| line.contains(name)));
        let at = |phrase: &str| readme.find(phrase).map(|at| &readme[at..]);
        let text = own.or_else(|| at("gainst float64")).or_else(|| at("gainst a float64")).unwrap_or_default();
        let usual = Self::default();
        let all = first_number(text, &["parameters by up to ", "parameters ", "state by up to "]);
        let is_key = text.split_once('(').is_some_and(|(_, name)| word(name).ends_with("key.bias"));
        let others = first_number(text, &["every other parameter by up to ", "without key biases "]);
        let any = first_number(text, &["key/c_attn bias differs by up to "]).or(all);
        Self {
            key_biases: any.unwrap_or(usual.key_biases),
            parameters: others.or(all.filter(|_| !is_key)).unwrap_or(usual.parameters),
            losses: first_number(text, &["losses by up to ", "losses by ", "losses "]).unwrap_or(usual.losses),
            norms: first_number(text, &["norms by ", "norms "]).unwrap_or(usual.norms),
        }
    }
}
