use super::{Answer, Batch, Draws, Objective};
use crate::backbone::ImageInput;
use crate::data::{DataError, Labels};
use crate::random::mix;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// An image and its class.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledImage {
    /// Its values `[channels, height, width]`, one row after the other, scaled and normalised as the network wants them.
    pub pixels: Vec<f32>,
    /// The class index; `None` where only a prediction is wanted.
    pub label: Option<usize>,
}

/// Supervised classification of images, all of one size: for a [`Classifier`](crate::head::Classifier) on a network that
/// reads images. The pixels are in memory as the network reads them.
///
/// ```
/// use rekindle::data::Labels;
/// use rekindle::objective::ImageClassification;
///
/// let labels = Labels::from_names(["dark", "light"])?;
/// let task = ImageClassification::new(labels, [1, 2, 2]);
/// let image = task.image(vec![0.9, 1.0, 0.8, 0.7], Some("light"))?;
/// assert_eq!(image.label, Some(1));
/// assert!(task.image(vec![0.0; 3], None).is_err());
/// # Ok::<(), rekindle::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageClassification {
    labels: Labels,
    size: [usize; 3],
}

impl ImageClassification {
    /// For images of `size`: channels, height, width.
    pub fn new(labels: Labels, size: [usize; 3]) -> Self {
        Self { labels, size }
    }

    /// The label map.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Channels, height and width of an image.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// An image with the class of this name, where it has one.
    ///
    /// # Errors
    /// [`DataError::PixelCount`] for pixels that do not fill an image, [`DataError::BadPixel`] for one that is not finite,
    /// [`DataError::UnknownLabel`] for a label outside the map.
    pub fn image(&self, pixels: Vec<f32>, label: Option<&str>) -> Result<LabelledImage, DataError> {
        let label = label.map(|label| self.labels.index(label)).transpose()?;
        let image = LabelledImage { pixels, label };
        self.check(0, &image)?;
        Ok(image)
    }

    fn check(&self, index: usize, image: &LabelledImage) -> Result<(), DataError> {
        let (found, [channels, height, width]) = (image.pixels.len(), self.size);
        if found != channels * height * width {
            return Err(DataError::PixelCount { index, found, channels, height, width });
        }
        match image.pixels.iter().position(|pixel| !pixel.is_finite()) {
            Some(place) => Err(DataError::BadPixel { index, place, value: image.pixels[place] }),
            None => Ok(()),
        }
    }
}

impl Objective for ImageClassification {
    type Example = LabelledImage;
    type Input = ImageInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        examples: &[&LabelledImage],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<ImageInput, Tensor<1, Int>>, DataError> {
        let [channels, height, width] = self.size;
        let mut labels: Vec<i64> = Vec::with_capacity(examples.len());
        let mut pixels: Vec<f32> = Vec::with_capacity(examples.len() * channels * height * width);
        for (row, example) in examples.iter().enumerate() {
            let index = draws.example(row);
            self.check(index, example)?;
            labels.push(example.label.ok_or(DataError::NoLabel { index })? as i64);
            pixels.extend(&example.pixels);
        }
        let targets = Tensor::from_data(TensorData::new(labels, [examples.len()]), device);
        let shape = [examples.len(), channels, height, width];
        Ok(Batch { input: ImageInput { pixels: Tensor::from_data(TensorData::new(pixels, shape), device) }, targets })
    }

    fn fingerprint(&self, example: &LabelledImage) -> u64 {
        let label = example.label.map_or(u64::MAX, |label| label as u64);
        mix(&[hash_pixels(&example.pixels), label])
    }

    fn input_fingerprint(&self, example: &LabelledImage) -> Option<u64> {
        Some(hash_pixels(&example.pixels))
    }

    fn answer(&self, example: &LabelledImage) -> Answer {
        example.label.map_or(Answer::Missing, Answer::Class)
    }

    fn class_names(&self) -> Vec<String> {
        self.labels.clone().into()
    }

    fn repeats(&self) -> bool {
        true
    }
}

fn hash_pixels(pixels: &[f32]) -> u64 {
    let bits: Vec<u64> = pixels.iter().map(|pixel| u64::from(pixel.to_bits())).collect();
    mix(&bits)
}
