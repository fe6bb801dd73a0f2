//! Pictures of what a run did, as SVG text: [`LineChart`] and [`Heatmap`].
//!
//! Each is plain data; [`LineChart::svg`] and [`Heatmap::svg`] draw it, and `save` writes it to a file that is whole or
//! absent. The same data give the same bytes. Pictures are opaque, so that they can be read on a dark page as well.
//!
//! ```
//! use rekindle::plot::{Line, LineChart, Scale};
//! let chart = LineChart {
//!     title: "Learning-rate range".into(),
//!     x_label: "learning rate".into(),
//!     y_label: "loss".into(),
//!     x_scale: Scale::Log10,
//!     lines: vec![Line { name: "smoothed".into(), points: vec![(1e-5, 2.0), (1e-4, 1.4), (1e-3, 1.9)] }],
//!     ..LineChart::default()
//! };
//! assert!(chart.svg()?.starts_with("<svg"));
//! # Ok::<(), rekindle::plot::PlotError>(())
//! ```

mod axis;
mod canvas;
mod heatmap;
mod line_chart;

pub use heatmap::Heatmap;
pub use line_chart::{Line, LineChart, Mark, Scale};

use crate::file::write_atomically;
use std::path::{Path, PathBuf};

/// A picture that cannot be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// There is nothing to draw.
    #[error("the picture {title:?} has nothing to draw; give at least one {needs}")]
    Empty {
        /// The picture's title.
        title: String,
        /// What it needs one of.
        needs: &'static str,
    },
    /// The cells of a heat map do not fit its names.
    #[error("the picture {title:?} has {found} {what}, but {expected} names for them; give as many as there are names")]
    Shape {
        /// The picture's title.
        title: String,
        /// What was counted.
        what: String,
        /// How many there are.
        found: usize,
        /// How many names there are.
        expected: usize,
    },
    /// The file cannot be written.
    #[error("cannot write the picture {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

fn save(path: &Path, svg: &str) -> Result<(), PlotError> {
    write_atomically(path, |file| file.write_all(svg.as_bytes()))
        .map_err(|source| PlotError::Io { path: path.into(), source })
}
