use crate::backbone::config::check_sizes;
use crate::checkpoint::CheckpointError;
use serde::{Deserialize, Serialize};

/// A size in pixels, as configurations give it: one number for both sides, or height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sides {
    /// Height and width are equal.
    Equal(usize),
    /// Height, width.
    Each([usize; 2]),
}

impl Sides {
    /// Height and width.
    pub fn each(self) -> [usize; 2] {
        match self {
            Self::Equal(side) => [side; 2],
            Self::Each(sides) => sides,
        }
    }

    /// How many patches of this size fit beside and below one another.
    pub(crate) fn grid(self, patch: Self) -> [usize; 2] {
        let ([height, width], [patch_height, patch_width]) = (self.each(), patch.each());
        [height / patch_height.max(1), width / patch_width.max(1)]
    }
}

/// Neither side is 0.
pub(crate) fn check_sides(field: &str, sides: Sides) -> Result<(), CheckpointError> {
    check_sizes(&sides.each().map(|side| (field, side)))
}

/// Patches have sides, and at least one of them fits into the image.
pub(crate) fn check_patches(image_size: Sides, patch_size: Sides) -> Result<(), CheckpointError> {
    check_sides("patch_size", patch_size)?;
    check_sizes(&image_size.grid(patch_size).map(|count| ("image_size / patch_size", count)))
}
