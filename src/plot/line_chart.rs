use super::axis::Axis;
use super::canvas::{Anchor, Canvas, FAINT, GRID, INK, shorten, widest};
use super::{PlotError, save};
use std::path::Path;

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally long.
    #[default]
    Linear,
    /// Equal ratios are equally long; values must be above 0.
    Log10,
}

/// One line of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// What the legend says; nothing where it is empty.
    pub name: String,
    /// Points `(x, y)`, joined in their order.
    pub points: Vec<(f64, f64)>,
}

/// A place on the horizontal axis that is worth a word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {
    /// Where it is.
    pub x: f64,
    /// The word.
    pub text: String,
}

/// Lines over a common horizontal axis.
///
/// Points without a place (NaN, infinite, at or below 0 on a logarithmic axis) break their line; the picture says below
/// how many there were. Where many points share a column of pixels, its first, last, highest and lowest one are drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineChart {
    /// Stands above.
    pub title: String,
    /// Names the horizontal axis.
    pub x_label: String,
    /// Names the vertical axis.
    pub y_label: String,
    /// How the horizontal axis is spread.
    pub x_scale: Scale,
    /// How the vertical axis is spread.
    pub y_scale: Scale,
    /// The lines, each in a colour of its own; from the ninth on, dashed.
    pub lines: Vec<Line>,
    /// Vertical lines with a word.
    pub marks: Vec<Mark>,
}

/// Colours that people with colour-blindness tell apart (after Okabe and Ito, 2008), dark enough for white.
const COLORS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b37400", "#56b4e9", "#6a3d9a", "#6b6b6b"];
const DASHES: [&str; 3] = ["", r#" stroke-dasharray="7 3""#, r#" stroke-dasharray="2 3""#];

/// The drawing area, in pixels.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 330.0;
const TOP: f64 = 46.0;
/// Font size of axes and legend.
const SMALL: f64 = 12.0;
/// A legend's longest name.
const LONGEST: f64 = 220.0;

impl LineChart {
    /// Draws it.
    ///
    /// # Errors
    /// [`PlotError::Empty`] where no point has a place.
    pub fn svg(&self) -> Result<String, PlotError> {
        let shows = |point: &(f64, f64)| self.x_scale.shows(point.0) && self.y_scale.shows(point.1);
        let shown = || self.lines.iter().flat_map(|line| &line.points).filter(|point| shows(point));
        if shown().next().is_none() {
            return Err(PlotError::Empty { title: self.title.clone(), needs: "point that is finite" });
        }
        let marks: Vec<&Mark> = self.marks.iter().filter(|mark| self.x_scale.shows(mark.x)).collect();
        let xs = shown().map(|point| point.0).chain(marks.iter().map(|mark| mark.x));
        let x = Axis::around(self.x_scale, xs, 0.02);
        let y = Axis::around(self.y_scale, shown().map(|point| point.1), 0.05);

        let y_ticks = y.ticks();
        let left = 40.0 + widest(y_ticks.iter().map(|(_, label)| label.as_str()), SMALL);
        let mut canvas = Canvas::new();
        axes(&mut canvas, left, &x.ticks(), &y_ticks);
        for (index, line) in self.lines.iter().enumerate() {
            let place = |point: &(f64, f64)| shows(point).then(|| (left + WIDTH * x.place(point.0), down(&y, point.1)));
            draw(&mut canvas, index, line.points.iter().map(place));
        }
        for (index, mark) in marks.iter().enumerate() {
            mark.draw(&mut canvas, left, x.place(mark.x), index);
        }
        let (width, height) = (left + WIDTH + self.legend(&mut canvas, left + WIDTH), self.height());
        let lost = self.lines.iter().flat_map(|line| &line.points).filter(|point| !shows(point)).count();
        let lost = lost + self.marks.len() - marks.len();
        self.texts(&mut canvas, left, width, lost);
        Ok(canvas.finish(width, height, &self.title))
    }

    /// Draws it to a file, by way of a temporary one: readers see the old picture or the new one.
    ///
    /// # Errors
    /// As [`LineChart::svg`]; [`PlotError::Io`] where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PlotError> {
        save(path.as_ref(), &self.svg()?)
    }

    fn named(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty())
    }

    fn height(&self) -> f64 {
        (TOP + HEIGHT + 70.0).max(TOP + 18.0 * self.named().count() as f64 + 20.0)
    }

    /// Lists the named lines from `start` on; gives the width that this takes.
    fn legend(&self, canvas: &mut Canvas, start: f64) -> f64 {
        let names: Vec<_> = self.named().map(|(index, line)| (index, shorten(&line.name, SMALL, LONGEST))).collect();
        for (row, (index, name)) in names.iter().enumerate() {
            let y = TOP + 8.0 + 18.0 * row as f64;
            canvas.line((start + 14.0, y), (start + 36.0, y), &stroke(*index));
            canvas.text((start + 42.0, y + 4.0), SMALL, Anchor::Start, INK, 0.0, name);
        }
        if names.is_empty() { 24.0 } else { 56.0 + widest(names.iter().map(|(_, name)| name.as_str()), SMALL) }
    }

    fn texts(&self, canvas: &mut Canvas, left: f64, width: f64, lost: usize) {
        let title = shorten(&self.title, 16.0, width - left - 10.0);
        canvas.text((left, 28.0), 16.0, Anchor::Start, INK, 0.0, &title);
        let (middle, bottom) = (left + WIDTH / 2.0, TOP + HEIGHT);
        let x_label = shorten(&self.x_label, SMALL, WIDTH);
        canvas.text((middle, bottom + 40.0), SMALL, Anchor::Middle, INK, 0.0, &x_label);
        let y_label = shorten(&self.y_label, SMALL, HEIGHT);
        canvas.text((18.0, TOP + HEIGHT / 2.0), SMALL, Anchor::Middle, INK, 90.0, &y_label);
        if lost > 0 {
            let logarithmic = self.x_scale == Scale::Log10 || self.y_scale == Scale::Log10;
            let why = if logarithmic { "not finite, or not above 0 on a logarithmic axis" } else { "not finite" };
            let caption = format!("Not drawn: {lost} ({why})");
            canvas.text((left, bottom + 60.0), 11.0, Anchor::Start, FAINT, 0.0, &caption);
        }
    }
}

impl Mark {
    fn draw(&self, canvas: &mut Canvas, left: f64, place: f64, index: usize) {
        let x = left + WIDTH * place;
        canvas.line((x, TOP), (x, TOP + HEIGHT), &format!(r#"stroke="{INK}" stroke-dasharray="4 3""#));
        let anchor = if place < 0.6 { Anchor::Start } else { Anchor::End };
        let x = if place < 0.6 { x + 5.0 } else { x - 5.0 };
        // One below the other: marks may be close together.
        let y = TOP + 14.0 + 15.0 * (index % 20) as f64;
        canvas.text((x, y), SMALL, anchor, INK, 0.0, &shorten(&self.text, SMALL, 0.55 * WIDTH));
    }
}

fn down(axis: &Axis, value: f64) -> f64 {
    TOP + HEIGHT * (1.0 - axis.place(value))
}

fn stroke(index: usize) -> String {
    let dash = DASHES[index / COLORS.len() % DASHES.len()];
    format!(r#"stroke="{}" stroke-width="1.8"{dash}"#, COLORS[index % COLORS.len()])
}

fn axes(canvas: &mut Canvas, left: f64, x_ticks: &[(f64, String)], y_ticks: &[(f64, String)]) {
    let grid = format!(r#"stroke="{GRID}""#);
    let bottom = TOP + HEIGHT;
    for (place, label) in x_ticks {
        let x = left + WIDTH * place;
        canvas.line((x, TOP), (x, bottom), &grid);
        canvas.text((x, bottom + 18.0), SMALL, Anchor::Middle, FAINT, 0.0, label);
    }
    for (place, label) in y_ticks {
        let y = bottom - HEIGHT * place;
        canvas.line((left, y), (left + WIDTH, y), &grid);
        canvas.text((left - 7.0, y + 4.0), SMALL, Anchor::End, FAINT, 0.0, label);
    }
    let ink = format!(r#"stroke="{INK}""#);
    canvas.line((left, bottom), (left + WIDTH, bottom), &ink);
    canvas.line((left, TOP), (left, bottom), &ink);
}

/// A line through points in pixels, broken where there is none; a point without neighbours becomes a dot.
fn draw(canvas: &mut Canvas, index: usize, points: impl Iterator<Item = Option<(f64, f64)>>) {
    let points: Vec<_> = points.collect();
    for part in points.split(|point| point.is_none()) {
        let part: Vec<(f64, f64)> = part.iter().flatten().copied().collect();
        match thin(&part)[..] {
            [] => {}
            [(x, y)] => {
                let color = COLORS[index % COLORS.len()];
                canvas.add(&format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{color}"/>"#));
            }
            ref points => {
                let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                let points = points.join(" ");
                canvas.add(&format!(r#"<polyline points="{points}" fill="none" {}/>"#, stroke(index)));
            }
        }
    }
}

/// Of neighbours in one column of pixels the first, the last, the highest and the lowest.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept = vec![];
    for column in points.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let by_height = |a: &usize, b: &usize| column[*a].1.total_cmp(&column[*b].1);
        let all = || 0..column.len();
        let mut indices: Vec<usize> = [all().min_by(by_height), all().max_by(by_height), all().next(), all().last()]
            .into_iter()
            .flatten()
            .collect();
        indices.sort_unstable();
        indices.dedup();
        kept.extend(indices.into_iter().map(|index| column[index]));
    }
    kept
}
