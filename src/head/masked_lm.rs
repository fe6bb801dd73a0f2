use super::transform::transformed;
use super::{Loss, TaskHead, Transform, cross_entropy, places};
use crate::backbone::{InputError, Tied, Tokens};
use crate::loss::ClassLoss;
use crate::metric::Scores;
use crate::nn::{Activation, Init, LayerNorm, Linear, linear};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};

/// The places to predict and the tokens that stood there.
#[derive(Clone, Debug)]
pub struct MaskedTargets {
    /// Flat positions in `[batch * seq]`, `[masked]`.
    pub at: Tensor<1, Int>,
    /// The original ids, `[masked]`.
    pub tokens: Tensor<1, Int>,
}

/// BERT's masked-language-model head. Its output projection is the token embedding, read from the features, so the two
/// stay one parameter; some architectures have one of the head's own ([`untied`](Self::untied),
/// [`projecting`](Self::projecting)).
#[derive(Module, Debug)]
pub struct MaskedLm {
    transform: Option<Transform>,
    decoder: Option<Linear>,
    /// Added to the logits, `[vocabulary]`.
    bias: Option<Param<Tensor<1>>>,
    vocab_size: usize,
}

impl MaskedLm {
    /// A fresh head, weights drawn from `seed`, with BERT's GELU and a layer-norm epsilon of 1e-12.
    pub fn new(hidden_size: usize, vocab_size: usize, seed: u64, device: &Device) -> Self {
        Self::with(hidden_size, vocab_size, Activation::Gelu, 1e-12, seed, device)
    }

    /// A fresh head with the activation and layer-norm epsilon of a configuration.
    pub fn with(
        hidden_size: usize,
        vocab_size: usize,
        activation: Activation,
        epsilon: f64,
        seed: u64,
        device: &Device,
    ) -> Self {
        let dense = dense(hidden_size, hidden_size, seed, device);
        let norm = LayerNorm::new(hidden_size, epsilon, device);
        Self::bare(vocab_size, true, device).with_transform(Transform::new(dense, activation, norm))
    }

    /// The token embedding alone, and a bias or none.
    pub fn bare(vocab_size: usize, bias: bool, device: &Device) -> Self {
        let bias = bias.then(|| Param::from_tensor(Tensor::zeros([vocab_size], device)));
        Self { transform: None, decoder: None, bias, vocab_size }
    }

    /// The same head with `transform` before the projection.
    pub fn with_transform(mut self, transform: Transform) -> Self {
        self.transform = Some(transform);
        self
    }

    /// The same head with a fresh projection of its own from features of width `hidden_size`.
    pub fn untied(mut self, hidden_size: usize, seed: u64, device: &Device) -> Self {
        let decoder = Init::new(seed ^ 0x0DEC_0DE5, 0.02, device).linear_with(hidden_size, self.vocab_size, false);
        self.decoder = Some(decoder);
        self
    }

    /// The same head with a fresh projection of its own from vectors of `width`, whose bias takes the place of the head's:
    /// BERT's where `tie_word_embeddings` is false.
    pub fn projecting(mut self, width: usize, seed: u64, device: &Device) -> Self {
        self.decoder = Some(dense(width, self.vocab_size, seed ^ 0x0DEC_0DE5, device));
        self.bias = None;
        self
    }

    /// The same head, made for the width of the token embeddings, on features of width `hidden_size`: its dense layer maps
    /// one to the other, as in ALBERT and ELECTRA.
    pub fn reading(mut self, hidden_size: usize, seed: u64, device: &Device) -> Self {
        if let Some(transform) = &mut self.transform {
            let [_, width] = transform.dense.weight.dims();
            transform.dense = dense(hidden_size, width, seed, device);
        }
        self
    }

    /// `[rows, hidden]` to logits `[rows, vocabulary]`.
    fn logits(&self, hidden: Tensor<2>, token_embedding: Tensor<2>) -> Tensor<2> {
        let hidden = transformed(&self.transform, hidden);
        let logits = match &self.decoder {
            Some(own) => linear(own, hidden),
            None => hidden.matmul(token_embedding.transpose()),
        };
        match &self.bias {
            Some(bias) => logits + bias.val().unsqueeze(),
            None => logits,
        }
    }

    /// Logits at the masked places only, `[masked, vocabulary]`.
    fn masked_logits<F: Tokens + Tied>(&self, features: &F, at: Tensor<1, Int>) -> Tensor<2> {
        let hidden = features.hidden();
        let [batch, seq, width] = hidden.dims();
        self.logits(hidden.reshape([batch * seq, width]).select(0, at), features.token_embedding())
    }
}

fn dense(input: usize, output: usize, seed: u64, device: &Device) -> Linear {
    Init::new(seed ^ 0x3A5C_ED01, 0.02, device).linear(input, output)
}

impl<F: Tokens + Tied> TaskHead<F> for MaskedLm {
    /// Logits, `[batch, seq, vocabulary]`.
    type Output = Tensor<3>;
    type Targets = MaskedTargets;

    fn check(&self, targets: &MaskedTargets) -> Result<(), InputError> {
        InputError::check_ids("token", &targets.tokens, self.vocab_size)
    }

    fn forward(&self, features: F) -> Tensor<3> {
        let hidden = features.hidden();
        let [batch, seq, width] = hidden.dims();
        let logits = self.logits(hidden.reshape([batch * seq, width]), features.token_embedding());
        let vocabulary = logits.dims()[1];
        logits.reshape([batch, seq, vocabulary])
    }

    fn loss(&self, features: F, targets: MaskedTargets) -> Loss {
        cross_entropy(self.masked_logits(&features, targets.at), targets.tokens)
    }

    fn r_drop(&self, first: F, second: F, targets: MaskedTargets, alpha: f64) -> Option<Loss> {
        let [first, second] = [first, second].map(|features| self.masked_logits(&features, targets.at.clone()));
        Some(ClassLoss::default().r_drop(first, second, targets.tokens, alpha))
    }

    fn score(&self, features: F, targets: MaskedTargets, scores: &mut Scores) {
        let logits = self.masked_logits(&features, targets.at);
        let loss = cross_entropy(logits.clone(), targets.tokens.clone());
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        places::add_hits((logits, targets.tokens), scores);
    }
}
