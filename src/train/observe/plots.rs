use super::cannot_write;
use super::curves::{Curves, over_steps};
use crate::plot::{Line, LineChart, Mark};
use crate::train::{Control, Event, Observer, ObserverError};
use std::path::PathBuf;

/// More points than a picture has columns show nothing more.
const POINTS: usize = 1000;

/// Draws `loss.svg`, `learning_rate.svg`, `grad_norm.svg` and a picture for every figure of the validations into a folder,
/// when the run ends, with or without an error. Pictures of a resumed run begin with its first step.
#[derive(Debug)]
pub struct Plots {
    folder: PathBuf,
    each_validation: bool,
    curves: Curves,
    best: Option<usize>,
}

impl Plots {
    /// Draws there; the folder is made where there is none.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), each_validation: false, curves: Curves::default(), best: None }
    }

    /// Draws after every validation as well.
    pub fn at_each_validation(mut self) -> Self {
        self.each_validation = true;
        self
    }

    fn draw(&self) -> Result<(), ObserverError> {
        if self.curves.losses.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder).map_err(cannot_write(&self.folder))?;
        let line = |name: &str, points| Line { name: name.into(), points };
        let steps = |name: &str, values: &[f64]| line(name, over_steps(values, POINTS));
        let loss = vec![steps("training", &self.curves.losses), line("validation", self.curves.figure("loss"))];
        self.chart("loss", "loss", loss)?;
        self.chart("learning_rate", "learning rate", vec![steps("learning rate", &self.curves.learning_rates)])?;
        self.chart("grad_norm", "gradient norm", vec![steps("before clipping", &self.curves.grad_norms)])?;
        for name in self.curves.figures().iter().filter(|name| *name != "loss") {
            self.chart(name, &name.replace('_', " "), vec![line("validation", self.curves.figure(name))])?;
        }
        Ok(())
    }

    fn chart(&self, file: &str, label: &str, mut lines: Vec<Line>) -> Result<(), ObserverError> {
        lines.retain(|line| !line.points.is_empty());
        let chart = LineChart {
            title: label.into(),
            x_label: "step".into(),
            y_label: label.into(),
            lines,
            marks: self.best.iter().map(|step| Mark { x: *step as f64, text: "best".into() }).collect(),
            ..LineChart::default()
        };
        Ok(chart.save(self.folder.join(format!("{file}.svg")))?)
    }
}

impl Observer for Plots {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        self.curves.on(event);
        match event {
            Event::Evaluated(_) if self.each_validation => self.draw()?,
            Event::End { report } => {
                self.best = report.best.map(|best| best.step);
                self.draw()?;
                (self.curves, self.best) = (Curves::default(), None);
            }
            Event::Failed { .. } => {
                self.draw()?;
                self.curves = Curves::default();
            }
            _ => {}
        }
        Ok(Control::Continue)
    }
}
