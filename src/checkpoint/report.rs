//! What became of each name when a checkpoint was loaded.

use std::fmt;

use super::error::name_some;

/// What became of each parameter of the model and of each key of the file. Printed, it is a short summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Paths of parameters that now hold the file's values.
    pub loaded: Vec<String>,
    /// Paths of parameters that are freshly initialised on purpose: a new head, an optional part that the file lacks.
    pub reinitialised: Vec<String>,
    /// Keys of the file that are known, but which this model has no place for, such as another head.
    pub unused: Vec<String>,
    /// Keys of the file that are never read: constants and copies.
    pub ignored: Vec<String>,
}

impl LoadReport {
    /// Whether every parameter got the file's values, and every key that counts was used.
    pub fn is_complete(&self) -> bool {
        self.reinitialised.is_empty() && self.unused.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loaded {} parameters", self.loaded.len())?;
        for (what, names) in [
            ("freshly initialised", &self.reinitialised),
            ("in the file but unused", &self.unused),
            ("in the file and ignored", &self.ignored),
        ] {
            if !names.is_empty() {
                write!(f, "\n{what} ({}): {}", names.len(), name_some(names))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_short() {
        let report = LoadReport {
            loaded: vec!["a".into(); 39],
            reinitialised: vec!["head.linear.bias".into(), "head.linear.weight".into()],
            unused: (0..8).map(|i| format!("cls.{i}")).collect(),
            ..LoadReport::default()
        };
        assert!(!report.is_complete());
        assert_eq!(
            report.to_string(),
            "loaded 39 parameters\n\
             freshly initialised (2): `head.linear.bias`, `head.linear.weight`\n\
             in the file but unused (8): `cls.0`, `cls.1`, `cls.2`, `cls.3`, `cls.4` and 3 more"
        );
    }
}
