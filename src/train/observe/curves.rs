use crate::train::{Evaluation, Event};

/// What a run did so far, as curves: what a chart is drawn from.
#[derive(Clone, Debug, Default)]
pub(super) struct Curves {
    /// Of each step, from the first one on.
    pub(super) losses: Vec<f64>,
    pub(super) learning_rates: Vec<f64>,
    pub(super) grad_norms: Vec<f64>,
    pub(super) evaluations: Vec<Evaluation>,
}

impl Curves {
    pub(super) fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::Resumed { report, .. } => {
                *self = Self {
                    losses: report.losses.clone(),
                    learning_rates: report.learning_rates.clone(),
                    grad_norms: report.grad_norms.clone(),
                    evaluations: report.evaluations.clone(),
                }
            }
            Event::Step(info) => {
                self.losses.push(info.loss);
                self.learning_rates.push(info.lr);
                self.grad_norms.push(info.grad_norm);
            }
            Event::Evaluated(evaluation) => self.evaluations.push(**evaluation),
            _ => {}
        }
    }

    /// A figure of every validation that has it, over the step.
    pub(super) fn figure(&self, name: &str) -> Vec<(f64, f64)> {
        let value = |evaluation: &Evaluation| {
            evaluation.figures().into_iter().find_map(|(other, value)| value.filter(|_| other == name))
        };
        self.evaluations.iter().filter_map(|evaluation| Some((evaluation.step as f64, value(evaluation)?))).collect()
    }

    /// Names of the figures that any validation has.
    pub(super) fn figures(&self) -> Vec<String> {
        let mut names: Vec<String> = vec![];
        for (name, value) in self.evaluations.iter().flat_map(Evaluation::figures) {
            if value.is_some() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Values over the steps 1, 2, ... as at most about `most` points: where there are more, neighbours become their mean.
pub(super) fn over_steps(values: &[f64], most: usize) -> Vec<(f64, f64)> {
    let size = values.len().div_ceil(most.max(1)).max(1);
    let point = |(index, values): (usize, &[f64])| {
        let middle = (index * size) as f64 + (values.len() + 1) as f64 / 2.0;
        (middle, values.iter().sum::<f64>() / values.len() as f64)
    };
    values.chunks(size).enumerate().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_values_become_means_of_neighbours() {
        assert_eq!(over_steps(&[3.0, 4.0], 5), [(1.0, 3.0), (2.0, 4.0)]);
        assert_eq!(over_steps(&[1.0, 2.0, 3.0, 4.0, 9.0], 3), [(1.5, 1.5), (3.5, 3.5), (5.0, 9.0)]);
        assert_eq!(over_steps(&[], 0), []);
    }
}
