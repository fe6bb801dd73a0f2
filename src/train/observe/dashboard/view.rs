use super::super::Throughput;
use super::super::curves::{Curves, over_steps};
use crate::params::{short, thousands};
use crate::train::{Event, StepInfo};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};

/// What is known of the run.
#[derive(Debug, Default)]
pub(super) struct View {
    curves: Curves,
    throughput: Throughput,
    plan: Vec<String>,
    info: Option<StepInfo>,
    steps: usize,
    /// Steps done when the run began or was resumed.
    before: usize,
    /// Examples of which frozen stages are being kept, done and in all.
    caching: Option<(usize, usize)>,
    message: Option<String>,
    /// Since the run began.
    pub(super) seconds: f64,
    pub(super) is_stopping: bool,
}

impl View {
    pub(super) fn on(&mut self, event: &Event<'_>) {
        self.curves.on(event);
        match event {
            Event::Resumed { step, .. } => {
                self.before = *step;
                self.message = Some(format!("goes on after step {step}"));
            }
            Event::Skipped { error } => self.message = Some(error.to_string()),
            Event::Start { steps, .. } => self.steps = *steps,
            Event::Plan { plan, .. } => self.plan = plan.to_string().lines().map(Into::into).collect(),
            Event::Caching { done, all } => self.caching = Some((*done, *all)).filter(|(done, all)| done < all),
            Event::Step(info) => {
                self.throughput.add(info);
                self.info = Some(**info);
            }
            Event::Saved { path } => self.message = Some(format!("saved {}", path.display())),
            Event::ObserverFailed { name, error } => {
                self.message = Some(format!("{name} failed and is left out: {error}"));
            }
            _ => {}
        }
    }

    /// Progress above, loss and figures in the middle, the plan and a message below.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let plan_height = (self.plan.len() as u16 + 2).min(frame.area().height / 3);
        let rows = Layout::vertical([
            Constraint::Length(3),
            Constraint::Min(6),
            Constraint::Length(plan_height),
            Constraint::Length(1),
        ]);
        let [progress, middle, plan, foot] = rows.areas(frame.area());
        let [chart, figures] = Layout::horizontal([Constraint::Min(20), Constraint::Length(28)]).areas(middle);
        self.progress(frame, progress);
        self.chart(frame, chart);
        self.figures(frame, figures);
        let text: Vec<Line<'_>> = self.plan.iter().map(|line| Line::from(line.as_str())).collect();
        frame.render_widget(Paragraph::new(text).block(Block::bordered().title("plan")), plan);
        let message = self.message.as_deref().unwrap_or("");
        let hint = if self.is_stopping { "stopping after this step" } else { "q: stop after this step" };
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Paragraph::new(Line::styled(format!("{hint}  {message}"), bold)), foot);
    }

    fn progress(&self, frame: &mut Frame<'_>, area: Rect) {
        let (done, all, label) = match self.caching {
            Some((done, all)) => (done, all, format!("frozen stages {done}/{all}")),
            None => {
                let (step, epoch) = self.info.map_or((self.before, 1), |info| (info.step, info.epoch));
                let left = self.seconds_left().map_or(String::new(), |left| format!("  {} left", clock(left)));
                (step, self.steps, format!("step {step}/{}  epoch {epoch}{left}", self.steps))
            }
        };
        let ratio = (done as f64 / all.max(1) as f64).clamp(0.0, 1.0);
        let gauge = Gauge::default().block(Block::bordered().title("rekindle")).ratio(ratio).label(label);
        frame.render_widget(gauge.gauge_style(Style::new().fg(Color::Blue)), area);
    }

    /// By the time that steps took since the run began, validations included.
    fn seconds_left(&self) -> Option<f64> {
        let info = self.info?;
        let here = info.step.checked_sub(self.before).filter(|steps| *steps > 0)?;
        Some(self.seconds / here as f64 * (self.steps.saturating_sub(info.step)) as f64)
    }

    fn chart(&self, frame: &mut Frame<'_>, area: Rect) {
        // A braille character is two points wide.
        let training = over_steps(&self.curves.losses, 2 * usize::from(area.width));
        let validation = self.curves.figure("loss");
        let block = Block::bordered().title("loss: training blue, validation yellow");
        if training.is_empty() {
            return frame.render_widget(block, area);
        }
        let losses = || training.iter().chain(&validation).map(|point| point.1);
        let (low, high) = (losses().fold(f64::INFINITY, f64::min), losses().fold(f64::NEG_INFINITY, f64::max));
        // A flat curve needs some height, too.
        let margin = (0.05 * (high - low)).max(1e-3);
        let last = (self.curves.losses.len() as f64).max(2.0);
        let dataset = |color| {
            Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(Style::new().fg(color))
        };
        let datasets = vec![dataset(Color::Blue).data(&training), dataset(Color::Yellow).data(&validation)];
        let axis = |bounds: [f64; 2], labels: [String; 2]| Axis::default().bounds(bounds).labels(labels);
        let chart = Chart::new(datasets)
            .block(block)
            .x_axis(axis([1.0, last], ["1".into(), format!("{last}")]))
            .y_axis(axis([low - margin, high + margin], [format!("{low:.3}"), format!("{high:.3}")]));
        frame.render_widget(chart, area);
    }

    fn figures(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut lines: Vec<(String, String)> = vec![];
        if let Some(info) = &self.info {
            let speed = self.throughput.recent();
            let recent = &self.curves.losses[self.curves.losses.len().saturating_sub(10)..];
            let loss = recent.iter().sum::<f64>() / recent.len().max(1) as f64;
            lines.extend([
                ("loss, last 10".into(), format!("{loss:.4}")),
                ("learning rate".into(), short(info.lr)),
                ("gradient norm".into(), format!("{:.3}", info.grad_norm)),
                ("examples/s".into(), format!("{:.1}", speed.examples_per_second())),
                ("tokens/s".into(), thousands(speed.tokens_per_second().round() as usize)),
                ("padding".into(), format!("{:.1} %", 100.0 * speed.padding_share())),
            ]);
        }
        if let Some(last) = self.curves.evaluations.last() {
            lines.push(("validation at".into(), last.step.to_string()));
            let figures = last.figures().into_iter().filter_map(|(name, value)| Some((name, value?)));
            lines.extend(figures.map(|(name, value)| (format!("  {}", name.replace('_', " ")), format!("{value:.4}"))));
        }
        let width = usize::from(area.width.saturating_sub(2));
        let line = |(name, value): &(String, String)| {
            Line::from(format!("{name}{value:>space$}", space = width.saturating_sub(name.chars().count())))
        };
        let text: Vec<Line<'_>> = lines.iter().map(line).collect();
        frame.render_widget(Paragraph::new(text).block(Block::bordered().title("figures")), area);
    }
}

/// `2 h 05 min`, `3 min 07 s`, `41 s`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Evaluation, Fit, Report, StepSeconds};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;
    use std::path::Path;

    fn screen(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn running() -> View {
        let mut view = View { plan: vec!["group  runs".into(), "head   autodiff".into()], ..View::default() };
        let config = Fit::default();
        view.on(&Event::Start { steps: 20, epochs: 2, examples: 80, config: &config });
        for step in 1..=10 {
            let loss = 2.0 / step as f64;
            let seconds = StepSeconds { total: 0.25, ..StepSeconds::default() };
            let info = StepInfo {
                step,
                steps: 20,
                epoch: 1,
                loss,
                lr: 4.5e-5,
                grad_norm: 1.25,
                examples: 8,
                tokens: 300,
                padding: 20,
                seconds,
                ..StepInfo::default()
            };
            view.on(&Event::Step(&info));
        }
        view.seconds = 30.0;
        let summary = json!({ "loss": 0.4, "accuracy": 0.875, "macro_f1": 0.8 });
        let summary = serde_json::from_value(summary).unwrap();
        view.on(&Event::Evaluated(&Evaluation { step: 10, epoch: 1, summary }));
        view.on(&Event::Saved { path: Path::new("runs/a/best.safetensors") });
        view
    }

    #[test]
    fn a_run_is_shown() {
        let shown = screen(&running(), 80, 22);
        assert_eq!(shown, include_str!("running.txt"), "\n{shown}");
    }

    #[test]
    fn any_size_and_any_moment_can_be_drawn() {
        let mut fresh = View::default();
        for view in [&fresh, &running()] {
            for (width, height) in [(1, 1), (10, 4), (28, 9), (200, 60)] {
                screen(view, width, height);
            }
        }
        fresh.on(&Event::Caching { done: 16, all: 40 });
        assert!(screen(&fresh, 80, 24).contains("frozen stages 16/40"));
        fresh.on(&Event::Caching { done: 40, all: 40 });
        fresh.on(&Event::Resumed { step: 7, report: &Report { losses: vec![1.0; 7], ..Report::default() } });
        fresh.is_stopping = true;
        let shown = screen(&fresh, 80, 24);
        assert!(shown.contains("step 7/0") && shown.contains("stopping after this step"), "{shown}");
    }

    #[test]
    fn times_are_short() {
        assert_eq!([41.4, 187.0, 7530.0].map(clock), ["41 s", "3 min 07 s", "2 h 05 min"]);
    }
}
