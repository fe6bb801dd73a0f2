use super::axis::number;
use super::canvas::{Anchor, Canvas, FAINT, INK, escape, shorten, widest, width};
use super::{PlotError, save};
use std::path::Path;

/// A table of numbers as colours, such as a confusion matrix.
///
/// Colours run from the smallest value (0 where none is below) to the largest. Cells that are not finite are grey, and
/// the picture says below how many there are. Up to 24 by 24 cells also show their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heatmap {
    /// Stands above.
    pub title: String,
    /// Names the columns together.
    pub x_label: String,
    /// Names the rows together.
    pub y_label: String,
    /// The name of each column.
    pub x_names: Vec<String>,
    /// The name of each row.
    pub y_names: Vec<String>,
    /// The numbers, `[row][column]`.
    pub cells: Vec<Vec<f64>>,
}

/// White to dark blue: darker in grey as well.
const COLORS: [[f64; 3]; 4] = [[255.0, 255.0, 255.0], [158.0, 202.0, 225.0], [33.0, 113.0, 181.0], [8.0, 48.0, 107.0]];
const MISSING: &str = "#c9c9c9";
/// The longest name, in pixels.
const LONGEST: f64 = 190.0;
const TOP: f64 = 46.0;

/// Sizes in pixels.
struct Layout {
    left: f64,
    cell: f64,
    font: f64,
    /// Column names go upwards, where they would run into each other.
    turned: bool,
    columns: f64,
    rows: f64,
}

impl Layout {
    fn right(&self) -> f64 {
        self.left + self.cell * self.columns
    }

    fn bottom(&self) -> f64 {
        TOP + self.cell * self.rows
    }
}

impl Heatmap {
    /// Draws it.
    ///
    /// # Errors
    /// [`PlotError::Empty`] without a finite cell, [`PlotError::Shape`] for rows or columns that are not as many as
    /// their names.
    pub fn svg(&self) -> Result<String, PlotError> {
        self.check()?;
        let finite = || self.cells.iter().flatten().copied().filter(|value| value.is_finite());
        let (low, high) =
            finite().fold((0f64, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let range = (low, if high > low { high } else { low + 1.0 });
        let layout = self.layout();

        let mut canvas = Canvas::new();
        let frame = |style: &str| {
            let (width, height) = (layout.right() - layout.left, layout.bottom() - TOP);
            format!(r#"<rect x="{:.1}" y="{TOP}" width="{width:.1}" height="{height:.1}" {style}/>"#, layout.left)
        };
        canvas.add(&frame(&format!(r#"fill="{}""#, color(0.0))));
        for (row, cells) in self.cells.iter().enumerate() {
            for (column, value) in cells.iter().enumerate() {
                self.cell(&mut canvas, &layout, range, (row, column), *value);
            }
        }
        canvas.add(&frame(&format!(r#"fill="none" stroke="{FAINT}""#)));
        let names_height = self.names(&mut canvas, &layout);
        let bar_width = bar(&mut canvas, &layout, range);
        let (middle_x, middle_y) = ((layout.left + layout.right()) / 2.0, (TOP + layout.bottom()) / 2.0);
        let below = layout.bottom() + names_height + 24.0;
        let text_width = layout.right() + bar_width - layout.left;
        canvas.text((layout.left, 28.0), 16.0, Anchor::Start, INK, 0.0, &shorten(&self.title, 16.0, text_width));
        canvas.text((middle_x, below), 12.0, Anchor::Middle, INK, 0.0, &shorten(&self.x_label, 12.0, text_width));
        let y_label = shorten(&self.y_label, 12.0, layout.bottom());
        canvas.text((18.0, middle_y), 12.0, Anchor::Middle, INK, 90.0, &y_label);
        let missing = self.cells.iter().flatten().filter(|value| !value.is_finite()).count();
        if missing > 0 {
            let caption = format!("Grey: {missing} not finite");
            canvas.text((layout.left, below + 20.0), 11.0, Anchor::Start, FAINT, 0.0, &caption);
        }
        Ok(canvas.finish(layout.right() + bar_width, below + 30.0, &self.title))
    }

    /// Draws it to a file, by way of a temporary one: readers see the old picture or the new one.
    ///
    /// # Errors
    /// As [`Heatmap::svg`]; [`PlotError::Io`] where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PlotError> {
        save(path.as_ref(), &self.svg()?)
    }

    fn check(&self) -> Result<(), PlotError> {
        let title = || self.title.clone();
        let shape = |what: String, found: usize, expected: usize| {
            if found == expected { Ok(()) } else { Err(PlotError::Shape { title: title(), what, found, expected }) }
        };
        shape("rows".into(), self.cells.len(), self.y_names.len())?;
        for (row, cells) in self.cells.iter().enumerate() {
            shape(format!("columns in row {row}"), cells.len(), self.x_names.len())?;
        }
        if self.cells.iter().flatten().any(|value| value.is_finite()) {
            return Ok(());
        }
        Err(PlotError::Empty { title: title(), needs: "cell that is finite" })
    }

    fn layout(&self) -> Layout {
        let (columns, rows) = (self.x_names.len() as f64, self.y_names.len() as f64);
        let cell = (720.0 / columns.max(rows)).clamp(10.0, 48.0);
        let font = (cell - 1.0).clamp(8.0, 12.0);
        let names = |names: &[String]| widest(names.iter().map(String::as_str), font).min(LONGEST);
        let turned = names(&self.x_names) > cell - 4.0;
        Layout { left: 38.0 + names(&self.y_names), cell, font, turned, columns, rows }
    }

    fn cell(&self, canvas: &mut Canvas, layout: &Layout, range: (f64, f64), at: (usize, usize), value: f64) {
        let (row, column) = at;
        // Halves, so that the range of the largest numbers stays finite.
        let share = (value / 2.0 - range.0 / 2.0) / (range.1 / 2.0 - range.0 / 2.0);
        let (x, y) = (layout.left + layout.cell * column as f64, TOP + layout.cell * row as f64);
        // The frame's colour already says it; a large table is mostly such cells.
        if share != 0.0 {
            let fill = if value.is_finite() { color(share) } else { MISSING.into() };
            let size = format!(r#"width="{0:.1}" height="{0:.1}""#, layout.cell);
            let (row_name, column_name) = (escape(&self.y_names[row]), escape(&self.x_names[column]));
            let note = format!("<title>{row_name}, {column_name}: {value}</title>");
            canvas.add(&format!(r#"<rect x="{x:.1}" y="{y:.1}" {size} fill="{fill}">{note}</rect>"#));
        }
        if layout.cell >= 30.0 && (share != 0.0 || layout.columns <= 12.0) {
            let text = short(value);
            let size = (12.0f64).min(12.0 * (layout.cell - 4.0) / width(&text, 12.0));
            let ink = if value.is_finite() && share > 0.55 { "#ffffff" } else { INK };
            let middle = (x + layout.cell / 2.0, y + layout.cell / 2.0 + size * 0.35);
            canvas.text(middle, size, Anchor::Middle, ink, 0.0, &text);
        }
    }

    /// Names beside the rows and below the columns; gives the height of the latter.
    fn names(&self, canvas: &mut Canvas, layout: &Layout) -> f64 {
        let Layout { left, cell, font, turned, .. } = *layout;
        for (row, name) in self.y_names.iter().enumerate() {
            let y = TOP + cell * (row as f64 + 0.5) + font * 0.35;
            canvas.text((left - 5.0, y), font, Anchor::End, INK, 0.0, &shorten(name, font, LONGEST));
        }
        let names: Vec<String> = self.x_names.iter().map(|name| shorten(name, font, LONGEST)).collect();
        for (column, name) in names.iter().enumerate() {
            let x = left + cell * (column as f64 + 0.5);
            match turned {
                true => canvas.text((x + font * 0.35, layout.bottom() + 5.0), font, Anchor::End, INK, 90.0, name),
                false => canvas.text((x, layout.bottom() + font + 4.0), font, Anchor::Middle, INK, 0.0, name),
            }
        }
        if turned { widest(names.iter().map(String::as_str), font) } else { font + 4.0 }
    }
}

/// The colours' key to the right of the table; gives the width that it takes.
fn bar(canvas: &mut Canvas, layout: &Layout, range: (f64, f64)) -> f64 {
    let height = (layout.bottom() - TOP).min(200.0);
    let x = layout.right() + 16.0;
    let stops: String = (0..COLORS.len())
        .map(|stop| stop as f64 / (COLORS.len() - 1) as f64)
        .map(|share| format!(r#"<stop offset="{share:.3}" stop-color="{}"/>"#, color(share)))
        .collect();
    canvas.add(&format!(r#"<linearGradient id="key" x1="0" y1="1" x2="0" y2="0">{stops}</linearGradient>"#));
    canvas.add(&format!(
        r#"<rect x="{x:.1}" y="{TOP}" width="12" height="{height:.1}" fill="url(#key)" stroke="{FAINT}"/>"#
    ));
    let (low, high) = (short(range.0), short(range.1));
    canvas.text((x + 17.0, TOP + 10.0), 11.0, Anchor::Start, FAINT, 0.0, &high);
    canvas.text((x + 17.0, TOP + height), 11.0, Anchor::Start, FAINT, 0.0, &low);
    46.0 + widest([low.as_str(), &high].into_iter(), 11.0)
}

/// The colour at a share of the range.
fn color(share: f64) -> String {
    let place = share.clamp(0.0, 1.0) * (COLORS.len() - 1) as f64;
    let below = (place as usize).min(COLORS.len() - 2);
    let mix = |channel: usize| {
        let (from, to) = (COLORS[below][channel], COLORS[below + 1][channel]);
        (from + (to - from) * (place - below as f64)).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

/// A number in few characters: whole ones whole, others with two digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if !value.is_finite() || (value.fract() == 0.0 && size < 1e6) => value.to_string(),
        size if (1e-2..1e6).contains(&size) => number(value, 0.01, size),
        size => number(value, size / 10.0, size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_cells_are_short() {
        let shown = [0.0, 3.0, 1234.0, 0.5, 0.123456, 12.3456, 0.00123, 1.5e-7, 2.5e9, f64::NAN].map(short);
        assert_eq!(shown, ["0", "3", "1234", "0.50", "0.12", "12.35", "0.0012", "1.5e-7", "2.5e9", "NaN"]);
    }

    #[test]
    fn larger_numbers_are_darker() {
        assert_eq!((color(0.0).as_str(), color(1.0).as_str()), ("#ffffff", "#08306b"));
        let light: Vec<u32> = (0..=20)
            .map(|step| u32::from_str_radix(&color(f64::from(step) / 20.0)[1..], 16).unwrap())
            .map(|rgb| (rgb >> 16) + (rgb >> 8 & 0xff) + (rgb & 0xff))
            .collect();
        assert!(light.is_sorted_by(|a, b| a > b), "{light:?}");
    }
}
