use crate::backbone::InputError;
use burn::tensor::Tensor;

/// Images as a vision backbone reads them.
#[derive(Clone, Debug)]
pub struct ImageInput {
    /// `[batch, channels, height, width]`, scaled and normalised as the checkpoint's processor does it.
    pub pixels: Tensor<4>,
}
crate::rows!(ImageInput { pixels });

impl ImageInput {
    /// Checks that there are images with this many channels and at least `least` pixels high and wide.
    ///
    /// # Errors
    /// [`InputError::Empty`], [`InputError::Channels`], [`InputError::TooSmall`].
    pub fn check(&self, channels: usize, least: [usize; 2]) -> Result<(), InputError> {
        let [rows, found, height, width] = self.pixels.dims();
        let [least_height, least_width] = least;
        match rows {
            0 => Err(InputError::Empty { rows, seq: height * width }),
            _ if found != channels => Err(InputError::Channels { found, expected: channels }),
            _ if height < least_height || width < least_width => {
                Err(InputError::TooSmall { height, width, least_height, least_width })
            }
            _ => Ok(()),
        }
    }
}
