use super::{Loss, TaskHead};
use crate::backbone::Pooled;
use crate::loss::{normalise, sigmoid_contrastive, symmetric_contrastive};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// Compares what two towers make: the cosine of each image with each text, scaled. Rows with the same index belong together.
///
/// Without bias the loss is CLIP's, with it SigLIP's (see [`symmetric_contrastive`] and [`sigmoid_contrastive`]). Either
/// depends on the whole batch, so gradients are not accumulated over several.
#[derive(Module, Debug)]
pub struct Contrastive {
    /// Logarithm of the scale, `[1]`.
    logit_scale: Param<Tensor<1>>,
    /// Added to the scaled cosines, `[1]`.
    logit_bias: Option<Param<Tensor<1>>>,
}

/// What two towers say of the rows of a batch.
#[derive(Clone, Debug)]
pub struct Similarities {
    /// Vectors of length 1, `[images, width]`.
    pub images: Tensor<2>,
    /// Vectors of length 1, `[texts, width]`.
    pub texts: Tensor<2>,
    /// Scaled similarity of each image to each text, `[images, texts]`.
    pub logits: Tensor<2>,
}

impl Contrastive {
    /// CLIP's: `log_scale` is the logarithm of the scale, 2.6592 in the original.
    pub fn new(log_scale: f64, device: &Device) -> Self {
        Self { logit_scale: value(log_scale, device), logit_bias: None }
    }

    /// SigLIP's, which begins with scale 10 and bias -10 as the original does.
    pub fn sigmoid(device: &Device) -> Self {
        Self { logit_scale: value(10f64.ln(), device), logit_bias: Some(value(-10.0, device)) }
    }
}

fn value(value: f64, device: &Device) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::full([1], value, device))
}

impl<I: Pooled, T: Pooled> TaskHead<(I, T)> for Contrastive {
    type Output = Similarities;
    /// The batch itself says what belongs together.
    type Targets = ();
    const COUPLED: bool = true;
    const POOLED_ONLY: bool = true;

    fn forward(&self, (images, texts): (I, T)) -> Similarities {
        let (images, texts) = (normalise(images.pooled()), normalise(texts.pooled()));
        let cosines = images.clone().matmul(texts.clone().transpose());
        let scaled = cosines * self.logit_scale.val().exp().unsqueeze();
        let logits = match &self.logit_bias {
            Some(bias) => scaled + bias.val().unsqueeze(),
            None => scaled,
        };
        Similarities { images, texts, logits }
    }

    fn loss(&self, features: (I, T), (): ()) -> Loss {
        let logits = self.forward(features).logits;
        if self.logit_bias.is_some() { sigmoid_contrastive(logits) } else { symmetric_contrastive(logits) }
    }

    fn settings(&self) -> String {
        if self.logit_bias.is_some() { "sigmoid of pairs".into() } else { "softmax over the batch".into() }
    }
}
